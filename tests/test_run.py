"""How long a training will take."""

from support.training import run

import pytest


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(run.time, "perf_counter", lambda: now[0])
    return now


def train(estimate, clock, epochs, seconds, begin=0):
    """What a `fit` tells its callback, given the seconds that each epoch takes."""
    estimate.set_params({"epochs": epochs, "steps": 5})
    estimate.on_train_begin()
    for epoch, took in zip(range(begin, epochs), seconds, strict=True):
        estimate.on_epoch_begin(epoch)
        clock[0] += took
        estimate.on_epoch_end(epoch)


def test_the_epoch_with_compilation_gives_a_limit_and_the_next_an_estimate(clock, capsys):
    train(run.Estimate(), clock, 32, [360] + [60] * 31)
    assert capsys.readouterr().out.splitlines() == [
        "Compiling the first step, which may take a minute ...",
        "At most 3.1 h for the epochs to come: 31",
        "About 30 min for the epochs to come: 30",
    ]


def test_every_stage_and_a_resumed_run_have_an_estimate_of_their_own(clock, capsys):
    estimate = run.Estimate()
    train(estimate, clock, 3, [9, 5, 5])
    train(estimate, clock, 13, [9] + [10] * 10, begin=2)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("Compiling")] == [
        "At most 18 s for the epochs to come: 2",
        "About 5 s for the epochs to come: 1",
        "At most 2 min for the epochs to come: 10",
        "About 2 min for the epochs to come: 9",
    ]


def test_a_single_epoch_has_no_estimate(clock, capsys):
    train(run.Estimate(), clock, 1, [9])
    assert "to come" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (89, "89 s"),
        (90, "2 min"),
        (3600, "60 min"),
        (5400, "1.5 h"),
        (86400, "24.0 h"),
    ],
)
def test_durations(seconds, words):
    assert run.duration(seconds) == words

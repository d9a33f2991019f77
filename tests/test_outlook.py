"""How long it will take."""

from support.training import outlook

import pytest


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(outlook.time, "perf_counter", lambda: now[0])
    return now


def train(told, clock, epochs, first_step, step, validation, begin=0, steps=5):
    """What a `fit` tells its callback."""
    told.set_params({"epochs": epochs, "steps": steps})
    told.on_train_begin()
    for epoch in range(begin, epochs):
        told.on_epoch_begin(epoch)
        for batch in range(steps):
            clock[0] += first_step if epoch == begin and not batch else step
            told.on_train_batch_end(batch)
        clock[0] += validation
        told.on_epoch_end(epoch)


def test_the_estimate_leaves_compilation_out_and_comes_once(clock, capsys):
    train(outlook.Outlook(lambda: 0), clock, 31, first_step=300, step=10, validation=8)
    out = capsys.readouterr().out.splitlines()
    # 5 steps of 10 s and 8 s are an epoch, 58 s; 30 of them are to come.
    assert out == [
        "Compiling the first step, which may take a minute ...",
        "About 29 min for the 30 epochs to come",
    ]


def test_where_an_epoch_is_one_step_the_second_is_timed(clock, capsys):
    train(outlook.Outlook(lambda: 0), clock, 32, first_step=300, step=10, validation=2, steps=1)
    assert capsys.readouterr().out.splitlines()[1:] == ["About 6 min for the 30 epochs to come"]


def test_every_stage_and_a_resumed_run_have_an_estimate_of_their_own(clock, capsys):
    later = iter((13, 0))
    told = outlook.Outlook(lambda: next(later))
    train(told, clock, 3, first_step=9, step=1, validation=0)
    train(told, clock, 13, first_step=9, step=2, validation=0, begin=2)
    out = capsys.readouterr().out
    assert out.count("Compiling") == 2
    assert "About 10 s for the 2 epochs to come; then 13 of another stage" in out
    assert "About 100 s for the 10 epochs" not in out
    assert "About 2 min for the 10 epochs to come\n" in out


def test_a_single_epoch_has_no_estimate(clock, capsys):
    train(outlook.Outlook(lambda: 0), clock, 1, first_step=9, step=1, validation=0)
    assert "About" not in capsys.readouterr().out


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
    assert outlook.duration(seconds) == words

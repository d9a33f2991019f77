"""Constants become flags; what cannot work is refused in one line with status 2."""

import importlib
import math
import re
import sys

import common
from support.runtime import flags

import pytest
from conftest import ROOT, main_of, run_script

SCRIPTS = ["FCN-keras", "Unet-keras", "U2Net-keras"]


def main_with(monkeypatch, script, *flags):
    monkeypatch.setattr("sys.argv", [f"{script}.py", *flags])
    main_of(script)()


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    ("flag", "value", "allowed"),
    [
        ("--image-size", "100", "a multiple of"),
        ("--image-size", "0", "a multiple of"),
        ("--batch-size", "0", "from 1 to"),
        ("--batch-size", "-3", "from 1 to"),
        ("--batch-size", "2.5", "invalid int value"),
        ("--seed", "-1", "from 0 to"),
        ("--patience", "-1", "from 0 to"),
        ("--augmentation", "nan", "a number from 0 to"),
        ("--dataset", "cityscapes", "oxford_iiit_pet"),
        ("--dataset", "", "oxford_iiit_pet"),
        ("--runs-dir", " ", "some text"),
        ("--data-dir", "", "some text"),
        ("--learning-rates", "1", "unrecognized"),
    ],
)
def test_refuses_shared_flags(monkeypatch, capsys, tmp_path, script, flag, value, allowed):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main_with(monkeypatch, script, flag, value)
    out, message = capsys.readouterr()
    assert (stopped.value.code, out, [*tmp_path.iterdir()]) == (2, "", [])
    assert flag in message
    assert value.strip() in message
    assert allowed in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("script", "flag", "value"),
    [
        ("Unet-keras", "--epochs", "0"),
        ("Unet-keras", "--learning-rate", "nan"),
        ("Unet-keras", "--learning-rate", "inf"),
        ("Unet-keras", "--learning-rate", "0"),
        ("Unet-keras", "--base-filters", "0"),
        ("Unet-keras", "--dropout", "1"),
        ("Unet-keras", "--batch-norm-momentum", "1"),
        ("FCN-keras", "--image-size", "144"),
        ("FCN-keras", "--stride", "4"),
        ("FCN-keras", "--decoder-epochs", "-1"),
        ("FCN-keras", "--fine-tune-epochs", "-1"),
        ("FCN-keras", "--fine-tune-learning-rate", "0"),
        ("FCN-keras", "--fc-filters", "0"),
        ("FCN-keras", "--pretrained", ""),
        ("U2Net-keras", "--image-size", "48"),
        ("U2Net-keras", "--variant", "tiny"),
        ("U2Net-keras", "--head-epochs", "-1"),
        ("U2Net-keras", "--fine-tune-learning-rate", "0"),
        ("U2Net-keras", "--epochs", "0"),
        ("Unet-keras", "--pretrained", "imagenet"),
        ("Unet-keras", "--pretrained", "published"),
        ("FCN-keras", "--pretrained", "published"),
        ("U2Net-keras", "--pretrained", "imagenet"),
    ],
)
def test_refuses_flags_of_one_script(monkeypatch, capsys, script, flag, value):
    with pytest.raises(SystemExit) as stopped:
        main_with(monkeypatch, script, flag, value)
    assert stopped.value.code == 2
    assert f"{flag} " in capsys.readouterr().err


@pytest.mark.parametrize("value", [0, 8.0])
@pytest.mark.parametrize("script", SCRIPTS)
def test_constants_edited_in_the_file_are_checked_too(monkeypatch, capsys, script, value):
    module = importlib.import_module(script)
    monkeypatch.setattr(module, "BATCH_SIZE", value)
    monkeypatch.setattr("sys.argv", [f"{script}.py"])
    with pytest.raises(SystemExit) as stopped:
        module.main()
    assert stopped.value.code == 2
    assert f"--batch-size {value}" in capsys.readouterr().err


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_constant_is_a_limited_flag_with_default_and_comment(monkeypatch, capsys, script):
    seen = {}

    def spy(script_globals, limits, arguments=None):
        seen.update(flags.SHARED_LIMITS | limits)
        return parse(script_globals, limits, arguments)

    parse = common.parse_flags
    monkeypatch.setattr(common, "parse_flags", spy)
    with pytest.raises(SystemExit) as stopped:
        main_with(monkeypatch, script, "--help")
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    constants = {
        name: value
        for name, value in vars(importlib.import_module(script)).items()
        if name.isupper() and not name.startswith("_")
    }
    assert len(constants) > 8
    assert text.index("to use a trained model instead of training one:") < text.index(" --predict")
    for name, value in constants.items():
        flag = "--" + name.lower().replace("_", "-")
        about = text.split(f" {flag} ")[-1].split(f"(default: {value})")[0]
        assert f"(default: {value})" in text
        assert len(about) > 10, f"{flag} has no comment"
        assert isinstance(value, bool) or name.lower() in seen, f"{flag} has no limits"


@pytest.mark.parametrize("more", [["--pretrained", "published"], ["--pretrained", "a.keras"]])
@pytest.mark.parametrize("use", [["--predict", "a.png"], ["--export", "onnx"]])
def test_of_two_models_none_is_chosen_without_a_word(capsys, tmp_path, monkeypatch, use, more):
    """`--model` would lose against the published weights, and win against a run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.keras").touch()
    for arguments in ([*use, *more, "--model", "b.keras"], [*use, "--pretrained", "."]):
        with pytest.raises(SystemExit):
            main_with(monkeypatch, "U2Net-keras", *arguments)
        assert "a run to use is named by --model alone" in capsys.readouterr().err


@pytest.mark.parametrize("use", [["--predict", "a.png"], ["--export", "onnx"]])
def test_what_only_training_takes_is_not_ignored_without_a_word(capsys, monkeypatch, use):
    with pytest.raises(SystemExit) as stopped:
        main_with(monkeypatch, "Unet-keras", *use, "--pretrained", "published")
    assert stopped.value.code == 2
    assert "--pretrained published is for training: --model names" in capsys.readouterr().err


@pytest.mark.parametrize("use", [["--predict", "a.png"], ["--export", "onnx"]])
def test_the_variant_of_a_run_is_not_chosen_by_a_flag(capsys, monkeypatch, use):
    with pytest.raises(SystemExit):
        main_with(monkeypatch, "U2Net-keras", *use, "--variant", "lite")
    assert "--variant is for training" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--output", "x"], "--output goes with --predict, and there is none"),
        (["--model", "x"], "--model goes with --predict, and there is none"),
        (["--mirrored", "--export", "onnx"], "--mirrored goes with --predict"),
        (["--export", ""], "--export  takes one of onnx, litert, saved_model"),
        (["--export", "tflite"], "--export tflite takes one of onnx, litert, saved_model"),
        (["--export", "onnx", "--predict", "a.png"], "saved_model, without --predict"),
        (["--predict", "a.png", "--image-size=512"], "--image-size is for training"),
        (["--export", "onnx", "--seed", "3"], "--seed is for training"),
        (["--predict", ""], "--predict [''] cannot work: must be names of photos"),
        (["--predict", "a.png", "--output", " "], "--output ' ' cannot work: must be some text"),
    ],
)
def test_flags_do_not_go_with_what_they_have_no_say_in(capsys, monkeypatch, given, told):
    with pytest.raises(SystemExit) as stopped:
        main_with(monkeypatch, "Unet-keras", *given)
    assert stopped.value.code == 2
    assert told in capsys.readouterr().err


def test_a_flag_that_says_no_was_given_too(capsys, monkeypatch):
    with pytest.raises(SystemExit):
        main_with(monkeypatch, "U2Net-keras", "--predict", "a.png", "--no-self-attention")
    assert "--self-attention is for training" in capsys.readouterr().err


def parsed(*arguments):
    return flags.parse_flags(vars(importlib.import_module("Unet-keras")), {}, [*arguments])


def test_a_folder_is_the_same_dataset_however_it_is_named(monkeypatch, tmp_path):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in ("mine", "./mine", "~/mine", str(tmp_path / "mine")):
        assert parsed("--dataset", name).dataset == str((tmp_path / "mine").resolve())


def test_photos_may_be_given_one_by_one():
    given = ["--predict", "a.png", "--predict", "b.png", "c.png"]
    assert parsed(*given).predict == ["a.png", "b.png", "c.png"]
    assert parsed().predict == []  # the default was not added to


def test_a_run_to_begin_with_may_be_at_home(monkeypatch, tmp_path):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    (tmp_path / "run").mkdir()
    found = parsed("--pretrained=~/run").pretrained
    assert found.replace("\\", "/") == (tmp_path / "run").as_posix()


def test_results_do_not_go_among_the_pictures(monkeypatch, tmp_path, capsys):
    """They would be taken for pictures without masks by the next start."""
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    with pytest.raises(SystemExit):
        parsed("--dataset", ".")
    told = capsys.readouterr().err
    assert f"--runs-dir {tmp_path / 'mine' / 'runs'} is in --dataset" in told
    assert parsed("--dataset", ".", "--runs-dir", "../runs").runs_dir == "../runs"
    assert parsed("--predict", "a.png").predict == ["a.png"]


def test_a_flag_counts_though_the_constant_says_the_same(monkeypatch):
    """The constant alone is for training."""
    script = vars(importlib.import_module("U2Net-keras")) | {"PRETRAINED": "published"}
    found = [
        flags.parse_flags(script, {}, ["--predict", "a.png", *more]).pretrained
        for more in ([], ["--pretrained", "published"], ["--pretrained=published"])
    ]
    assert found == ["none", "published", "published"]


def test_what_looks_like_a_constant_in_a_text_is_none(tmp_path):
    path = tmp_path / "script.py"
    source = (ROOT / "Unet-keras.py").read_text(encoding="utf-8")
    path.write_text('"""About it:\n\nFOLDS = 3\n"""\n' + source, encoding="utf-8")
    script = vars(importlib.import_module("Unet-keras")) | {"__file__": str(path)}
    assert vars(flags.parse_flags(script, {}, [])).keys() == vars(parsed()).keys()


def test_a_script_without_a_docstring_has_flags():
    script = vars(importlib.import_module("Unet-keras")) | {"__doc__": None}
    assert flags.parse_flags(script, {}, []).predict == []


def test_the_lowest_and_the_highest_value_are_allowed():
    given = parsed("--augmentation", "0", "--dropout", "0", "--learning-rate", "1", "--seed", "0")
    assert (given.augmentation, given.dropout, given.learning_rate, given.seed) == (0, 0, 1, 0)
    assert parsed("--augmentation", "2").augmentation == 2


def test_a_word_is_no_folder_of_that_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("imagenet", "published", "mine"):
        (tmp_path / name).mkdir()
    found = {name: flags.is_run(name) for name in ("imagenet", "published", "mine", "a.keras")}
    assert found == {"imagenet": False, "published": False, "mine": True, "a.keras": True}


@pytest.mark.slow
def test_a_process_ends_with_one_line_and_status_2(tmp_path):
    process = run_script("U2Net-keras", "--image-size", "100", cwd=tmp_path)
    assert process.returncode == 2
    assert process.stdout == ""
    assert len(process.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    [
        "EPOCHS",
        "IMAGE_SIZE",
        "AUGMENTATION",
        "PATIENCE",
        "SEED",
        "BATCH_SIZE",
        "DATA_DIR",
        "RUNS_DIR",
        "FIT",
    ],
)
@pytest.mark.parametrize("change", ["", "MY_\\g<0>", "\\g<0> = None  # "])
def test_a_constant_that_was_deleted_renamed_or_emptied_is_named(
    monkeypatch, tmp_path, capsys, name, change
):
    """Those that also stand in the signature of `build_model` are seen by Python first."""
    source = (ROOT / "Unet-keras.py").read_text()
    source = source.replace(f"={name},", "=0,")
    source = re.sub(rf"^{name}\b" + ("" if change else ".*"), change, source, flags=re.M)
    (tmp_path / "edited.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "edited", raising=False)
    monkeypatch.setattr("sys.argv", ["edited.py"])
    with pytest.raises(SystemExit) as stopped:
        main_of("edited")()
    assert stopped.value.code == 2
    assert f"the constant {name}, " in capsys.readouterr().err


@pytest.mark.parametrize("script", SCRIPTS)
def test_flags_are_never_abbreviated(monkeypatch, capsys, script):
    with pytest.raises(SystemExit) as stopped:
        main_with(monkeypatch, script, "--augment", "0.1")
    assert stopped.value.code == 2
    assert "unrecognized" in capsys.readouterr().err


@pytest.mark.parametrize("stride", ["8", "16", "32"])
def test_fcn_takes_every_stride_of_the_paper(monkeypatch, stride):
    def reached(flags):
        raise InterruptedError(flags.stride)

    monkeypatch.setattr(common, "set_up", reached)
    with pytest.raises(InterruptedError, match=stride):
        main_with(monkeypatch, "FCN-keras", "--stride", stride)


@pytest.mark.parametrize("name", ["oxford_iiit_pet", "synthetic"])
def test_a_dataset_that_has_a_name_is_no_folder(monkeypatch, tmp_path, name):
    monkeypatch.chdir(tmp_path)
    assert parsed("--dataset", name).dataset == name


def test_early_limits_that_are_not_known_are_not_told(capsys):
    script = vars(importlib.import_module("FCN-keras"))
    with pytest.raises(SystemExit):
        flags.parse_flags(script, {"stride": (-math.inf, math.inf)}, ["--stride", "nan"])
    assert "--stride nan cannot work: must be a number (--help" in capsys.readouterr().err


def test_a_constant_that_is_computed_is_left_to_the_script(monkeypatch, tmp_path):
    path = tmp_path / "edited.py"
    source = (ROOT / "Unet-keras.py").read_text(encoding="utf-8")
    edited = re.sub(r"^EPOCHS = \d+", "EPOCHS = 4 * 10", source, flags=re.M)
    assert edited != source
    path.write_text(edited, encoding="utf-8")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(path), raising=False)
    flags.answer_early()


@pytest.mark.parametrize("script", SCRIPTS)
def test_unless_told_otherwise_no_run_stops_early(script):
    assert flags.parse_flags(vars(importlib.import_module(script)), {}, []).patience == 0


def test_to_use_a_model_no_dataset_is_needed(tmp_path):
    script = vars(importlib.import_module("Unet-keras")) | {"DATASET": str(tmp_path / "gone")}
    assert flags.parse_flags(script, {}, ["--predict", "a.png"]).predict == ["a.png"]


# What docs/results.md found best, and the README trains with.
DEFAULTS = {
    "FCN-keras": {"LEARNING_RATE": 1e-3, "FINE_TUNE_LEARNING_RATE": 1e-4, "DECODER_EPOCHS": 10}
    | {"FINE_TUNE_EPOCHS": 10, "DROPOUT": 0.5, "STRIDE": 8, "PRETRAINED": "imagenet"},
    "Unet-keras": {"LEARNING_RATE": 2e-2, "EPOCHS": 40, "DROPOUT": 0.3, "PRETRAINED": "none"},
    "U2Net-keras": {"LEARNING_RATE": 5e-3, "EPOCHS": 20, "HEAD_EPOCHS": 3, "VARIANT": "full"}
    | {"FINE_TUNE_LEARNING_RATE": 2e-4, "PRETRAINED": "none"},
}
SHARED = {"DATASET": "oxford_iiit_pet", "IMAGE_SIZE": 128, "BATCH_SIZE": 8, "SEED": 1}
SHARED |= {"AUGMENTATION": 0.5, "BATCH_NORM_MOMENTUM": 0.9, "FIT": "resize", "PRECISION": "auto"}


@pytest.mark.parametrize("script", DEFAULTS)
def test_the_defaults_are_those_that_were_compared(script):
    found = vars(importlib.import_module(script))
    wanted = SHARED | DEFAULTS[script]
    assert {name: found[name] for name in wanted} == wanted


@pytest.mark.parametrize("script", ["FCN-keras", "Unet-keras", "U2Net-keras"])
def test_the_largest_size_is_2048(monkeypatch, script):
    def reached(flags):
        raise InterruptedError(flags.image_size)

    monkeypatch.setattr(common, "set_up", reached)
    monkeypatch.setattr("sys.argv", [f"{script}.py", "--image-size", "2048"])
    with pytest.raises(InterruptedError, match="2048"):
        importlib.import_module(script).main()


@pytest.mark.parametrize("use", [["--predict", "a.png"], ["--export", "onnx"]])
def test_a_model_may_be_used_in_the_folder_of_the_pictures(monkeypatch, tmp_path, use):
    """That the constant names; nothing is trained on what lies there then."""
    monkeypatch.chdir(tmp_path)
    script = vars(importlib.import_module("Unet-keras")) | {"DATASET": str(tmp_path)}
    assert flags.parse_flags(script, {}, use).dataset == str(tmp_path.resolve())


def test_a_constant_without_a_point_takes_a_flag_with_one():
    script = vars(importlib.import_module("Unet-keras")) | {"AUGMENTATION": 0}
    assert flags.parse_flags(script, {}, ["--augmentation", "0.5"]).augmentation == 0.5


@pytest.mark.parametrize("name", ["DATASET", "PRECISION"])
def test_a_constant_that_only_the_library_reads_is_named(capsys, name):
    script = vars(importlib.import_module("Unet-keras")) | {name: None}
    with pytest.raises(SystemExit):
        flags.parse_flags(script, {}, [])
    assert f"the constant {name}, " in capsys.readouterr().err


def test_a_comment_may_have_a_percent_sign(tmp_path, capsys):
    path = tmp_path / "script.py"
    source = (ROOT / "Unet-keras.py").read_text(encoding="utf-8")
    path.write_text(source.replace("# same seed, same", "# 100 % the same"), encoding="utf-8")
    script = vars(importlib.import_module("Unet-keras")) | {"__file__": str(path)}
    with pytest.raises(SystemExit) as stopped:
        flags.parse_flags(script, {}, ["--help"])
    assert stopped.value.code == 0
    assert "100 % the same result" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("script", "size"), [("Unet-keras", "40"), ("FCN-keras", "48"), ("U2Net-keras", "80")]
)
def test_a_side_that_a_network_cannot_halve_often_enough_is_refused(
    monkeypatch, capsys, script, size
):
    monkeypatch.setattr(common, "set_up", None)  # nobody comes so far
    with pytest.raises(SystemExit) as stopped:
        main_with(monkeypatch, script, "--image-size", size)
    assert stopped.value.code == 2
    assert f"--image-size {size} cannot work: must be a multiple of" in capsys.readouterr().err


@pytest.mark.parametrize("script", SCRIPTS)
def test_datasets_are_kept_where_tfds_keeps_them_and_runs_where_the_readme_says(script):
    found = vars(importlib.import_module(script))
    assert (found["DATA_DIR"], found["RUNS_DIR"]) == ("~/tensorflow_datasets", "runs")

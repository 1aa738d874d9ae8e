"""The package as a whole: what importing it does, and that its lists agree with what is there."""

import ast
import collections
import configparser
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import tfrs_twotower
from tfrs_twotower import _legacy_keras, extras
from tfrs_twotower.cli.main import main

ROOT = Path(__file__).parents[1]


def _run(code):
    """Runs Python code in a new process, without `TF_USE_LEGACY_KERAS`."""
    kept = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    return subprocess.run([sys.executable, "-c", code], env=kept, cwd=ROOT, capture_output=True, text=True)


def _setup_cfg():
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg")
    return parser


def _lines(text):
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _names(requirements):
    """Canonical names of `requirements`, without the lines by which one extra takes in another."""
    found = [re.match(r"[A-Za-z0-9._-]+", line) for line in requirements]
    return {re.sub(r"[-_.]+", "-", match[0]).lower() for match in found if match}


def test_importing_after_tensorflow_with_keras_3_is_one_line_and_choosing_then_is_too_late():
    code = (
        "import os, tensorflow as tf\ntry:\n    import tfrs_twotower\nexcept ImportError as error:\n    print(error)\n"
        "tf.keras.Model\nos.environ['TF_USE_LEGACY_KERAS'] = '1'\nimport tfrs_twotower"
    )
    result = _run(code)
    message = (
        "TensorFlow was imported before tfrs_twotower, with Keras 3. "
        "Import tfrs_twotower first, or set TF_USE_LEGACY_KERAS=1 in the environment."
    )
    assert result.returncode == 1
    assert result.stdout.splitlines() == [message]
    assert result.stderr.splitlines()[-1] == f"ImportError: {message}"


def test_importing_before_tensorflow_chose_legacy_keras_and_then_importing_after_it_works():
    import tensorflow as tf

    assert tf.keras.Model.__module__.startswith("tf_keras.")  # `conftest.py` imported this package first
    _legacy_keras.require()


def test_the_installed_version_is_the_one_in_the_source():
    assert metadata.version("tfrs_twotower") == tfrs_twotower.__version__
    assert f"\n## [{tfrs_twotower.__version__}] - " in (ROOT / "CHANGELOG.md").read_text()


def test_the_console_command_is_installed_and_helps():
    command = Path(sys.executable).with_name("twotower")
    result = subprocess.run([command, "--help"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for verb in ("train", "evaluate", "recommend", "similar", "index", "export", "serve", "load", "consume", "inspect"):
        assert re.search(rf"^\s+{verb}\b", result.stdout, re.MULTILINE), verb


def test_the_command_prints_its_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"twotower {tfrs_twotower.__version__}\n"


def test_every_folder_of_the_package_is_a_package():
    folders = {path.parent for path in (ROOT / "tfrs_twotower").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_every_extra_that_an_error_names_exists_and_brings_the_module():
    brings = {"faiss": "faiss-cpu", "grpc": "grpcio", "tensorflow_serving": "tensorflow-serving-api"}
    declared = _setup_cfg()["options.extras_require"]
    for module, (extra, _) in extras._EXTRAS.items():
        assert brings.get(module, module.replace("_", "-")) in _names(_lines(declared[extra]))


def test_every_direct_dependency_is_pinned_with_a_reason():
    pins = (ROOT / "constraints.txt").read_text().split("# Dependencies of the above")[0].splitlines()
    reasons = {}
    for previous, line in zip(pins, pins[1:]):
        name = line.split("==")[0]
        if "==" in line and name not in reasons:
            reasons[name] = previous
    assert all(reason.startswith("# ") and reason.endswith(".") for reason in reasons.values()), reasons
    config = _setup_cfg()
    wanted = _names(_lines(config["options"]["install_requires"]))
    for requirements in config["options.extras_require"].values():
        wanted |= _names(_lines(requirements))
    assert set(reasons) == wanted


def test_constraints_hold_nothing_of_one_machine_and_leave_protobuf_free():
    pins = _lines((ROOT / "constraints.txt").read_text())
    for pin in pins:
        assert re.fullmatch(r'[a-z0-9-]+==[0-9][0-9a-z.]*(; python_version (<|>=) "3\.11")?', pin), pin
    assert "protobuf" not in _names(pins)


def test_this_environment_is_the_one_in_the_constraints():
    newer = [p for p in _lines((ROOT / "constraints.txt").read_text()) if not p.endswith('< "3.11"')]
    if sys.version_info < (3, 11):
        pytest.skip("the constraints for Python 3.10 are resolved, not tested")
    for name, version in (pin.split(";")[0].split("==") for pin in newer):
        try:
            assert metadata.version(name) == version, name
        except metadata.PackageNotFoundError:
            assert name == "scann", f"{name} is pinned and not installed"


def test_make_alone_lists_every_target():
    result = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert re.findall(r"^  ([\w-]+) +\w", result.stdout, re.MULTILINE) == phony


@pytest.mark.parametrize(
    "script, says",
    [
        (
            "exit 1",
            "Python 3.10 to 3.13 is needed; {python} is not one. "
            "Install it, for example: apt install python3.11 python3.11-venv",
        ),
        (  # Debian's Python without its venv package: everything but ensurepip.
            'case "$*" in *ensurepip*) exit 1;; *) exec {real} "$@";; esac',
            "The venv module of Python {version} is missing. "
            "Install it, for example: apt install python{version}-venv",
        ),
    ],
)
def test_make_says_what_to_install(tmp_path, script, says):
    for name in ("Makefile", "setup.py", "setup.cfg", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\n" + script.format(real=sys.executable) + "\n")
    python.chmod(0o755)
    result = subprocess.run(
        ["make", "setup", f"PYTHON={python}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode != 0
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert result.stderr.splitlines()[0] == says.format(python=python, version=version)
    assert not (tmp_path / ".venv").exists()


def test_the_public_names_are_these_and_each_is_there():
    """A new name is a decision: it is added here too."""
    public = """
        Augmented AuxiliaryLoss BPR BinaryCrossEntropy CIN COLD Category Columns ComiRec Cross CrossBatch DCN
        Derived Drawn Encoder EvaluationConfig Exact Explicit FMCandidate FMQuery FaissHNSW FaissIVF FaissIVFPQ
        Feature Field Files FixedTemperature FullSoftmax GRU4Rec GraphVector HSTU Hard History IVF Id Identity
        InBatch IndexConfig IndexKind IndexTopK ItemStatistic LazyAdamConfig LearnedTemperature LeaveLastOut
        Location Loss MIND MLP MilvusIndex ModelConfig MovieLens MultiValue NeuralCF NoLogQ Number
        ParallelCandidate ParallelQuery Popular Prepared Preprocessed QueryBuilder Race RandomHoldout
        RandomPerUser Recipe Recommender RefinedSampledSoftmax Reranker RerankerConfig Retrieval
        RowWiseAdagradConfig SASRec SENet SampledSoftmax ScaNN ScheduledTemperature Schema SearchThenAttend
        Searches Sequence Source Split Splitter StaticCorrection StaticLogQ Store StoreKind StreamingCorrection
        StreamingLogQ Sweep TFRecords Temporal Text Tfds Time TopK TrainingConfig TripletHinge TripletLogistic
        TwoTowerModel Uniform UserHeldOut UserStatistic Vector compare config errors evaluate layer_of load
        load_export recipes
    """
    assert tfrs_twotower.__all__ == sorted(public.split())
    for name in tfrs_twotower.__all__:
        value = getattr(tfrs_twotower, name)
        assert value.__doc__, name
        assert getattr(value, "__name__", name).rpartition(".")[2] == name


def test_importing_the_package_alone_imports_no_tensorflow():
    code = "import sys, tfrs_twotower as tt; tt.Columns; print('tensorflow' in sys.modules, 'Recipe' in dir(tt))"
    assert _run(code).stdout.split() == ["False", "True"]


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Recomender'"):
        tfrs_twotower.Recomender


def test_no_two_classes_have_one_name():
    """Public ones, at the top of a module."""
    files = collections.defaultdict(list)
    for file in (ROOT / "tfrs_twotower").rglob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                files[node.name].append(file.name)
    assert "TwoTowerModel" in files
    assert not {name: found for name, found in files.items() if len(found) > 1}

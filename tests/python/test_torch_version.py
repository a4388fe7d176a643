"""PyTorch of another minor version than the build's raises a clear ImportError before the extension is loaded."""

import subprocess
import sys

import pytest
import torch

from spectralgrad import _build_info, _torch_version


@pytest.mark.parametrize(
    ("built_against", "running"),
    [("2.13.0", "2.13.0"), ("2.13.0+cpu", "2.13.0+cu130"), ("2.13.0+cpu", "2.13.1"), ("2.13.0", "2.13.0a0+gitabcdef0")],
)
def test_the_same_minor_version_passes(built_against: str, running: str) -> None:
    _torch_version.check(built_against, running)


@pytest.mark.parametrize(
    ("built_against", "running"),
    [
        ("2.13.0+cpu", "2.14.0"),
        ("2.13.0+cpu", "2.1.3"),
        ("2.1.0", "2.13.0"),
        ("2.13.0", "3.13.0"),
        ("2.13.0", "unknown"),
    ],
)
def test_another_minor_version_is_named_with_a_way_out(built_against: str, running: str) -> None:
    with pytest.raises(ImportError, match="build spectralgrad again") as caught:
        _torch_version.check(built_against, running)
    sentence = str(caught.value)
    assert f"built against PyTorch {built_against}, but PyTorch {running} is running" in sentence
    assert f"install torch=={'.'.join(built_against.split('.')[:2])}.*" in sentence


def test_the_build_recorded_the_running_torch() -> None:
    assert _build_info.built_against_torch == torch.__version__


def test_import_raises_it_before_the_extension_is_loaded() -> None:
    program = (
        "import sys, torch\n"
        "torch.__version__ = '2.99.0'\n"
        "try:\n"
        "    import spectralgrad\n"
        "except ImportError as error:\n"
        "    assert 'PyTorch 2.99.0 is running' in str(error), error\n"
        "    assert 'spectralgrad._C' not in sys.modules\n"
        "else:\n"
        "    sys.exit('imported')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

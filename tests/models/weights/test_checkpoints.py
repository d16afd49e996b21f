"""Weight files: their tensors are read, and code in them never runs."""

import pickle
import struct
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from models.errors import UnreadableCheckpoint, UnsafeCheckpoint, WeightsNotFound, WrongArchitecture
from models.weights.checkpoints import fill, read, read_metadata, sha256_of
from models.weights.library_boundary import architecture_boundary, library_reason

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


class Evil:
    def __reduce__(self):
        return (eval, ("open('/dev/null')",))


def is_state(found):
    return found.keys() == STATE.keys() and all(torch.equal(found[key], STATE[key]) for key in STATE)


@pytest.mark.parametrize("wrapper", ["params", "params_ema", "state_dict", None])
def test_a_torch_file_gives_its_tensors_under_any_wrapper(tmp_path, wrapper):
    path = tmp_path / "model.pth"
    torch.save({wrapper: STATE, "epoch": 3} if wrapper else STATE, path)
    assert is_state(read(path, "upscaling"))


def test_the_averaged_weights_are_preferred(tmp_path):
    torch.save({"params": {"a.weight": torch.zeros(1)}, "params_ema": STATE}, tmp_path / "model.pth")
    assert is_state(read(tmp_path / "model.pth", "upscaling"))


@pytest.mark.parametrize("prefix", ["", "params.", "params_ema."])
def test_safetensors_with_or_without_the_old_wrapper_as_prefix(tmp_path, prefix):
    path = tmp_path / "model.safetensors"
    save_file({prefix + key: value for key, value in STATE.items()}, path)
    assert is_state(read(path, "upscaling"))


def test_replacing_the_file_does_not_change_what_was_read(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file(STATE, path)
    found = read(path, "upscaling")
    save_file({key: value * 0 for key, value in STATE.items()}, path)
    assert is_state(found)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path, protocol):
    path = tmp_path / "evil.pth"
    torch.save({"params": STATE, "extra": Evil()}, path)
    with pytest.raises(UnsafeCheckpoint, match=r"a pickle that calls eval.*Convert it to safetensors"):
        read(path, "upscaling")
    path.write_bytes(pickle.dumps({"extra": Evil()}, protocol=protocol))
    with pytest.raises(UnsafeCheckpoint, match=r"evil\.pth"):
        read(path, "upscaling")


def rewrite(path, change):
    """Write the archive again; change: returns compression and content for a member's name and content."""
    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            kind, own = change(name, content)
            archive.writestr(name, own, kind)


def test_a_compressed_archive_is_refused_before_it_inflates(tmp_path):
    """32 MiB of zeros in 33 KiB; a file of a few megabytes could take gigabytes."""
    path = tmp_path / "bomb.pth"
    torch.save({"params": {"w": torch.zeros(2**23)}}, path)
    rewrite(path, lambda name, content: (zipfile.ZIP_DEFLATED, content))
    assert path.stat().st_size < 2**16
    with pytest.raises(UnsafeCheckpoint, match=r"bomb\.pth is unsafe to load: 'bomb/.*' in it is compressed"):
        read(path, "upscaling")


def test_an_archive_whose_parts_overlap_is_refused(tmp_path):
    path = tmp_path / "overlap.pth"
    torch.save({f"w{number}": torch.zeros(4096) for number in range(4)}, path)
    content = bytearray(path.read_bytes())
    directory = entry = content.index(b"PK\x01\x02")
    while content[entry : entry + 4] == b"PK\x01\x02":
        name, extra, comment = struct.unpack_from("<HHH", content, entry + 28)
        if b"/data/" in content[entry + 46 : entry + 46 + name]:
            (start,) = struct.unpack_from("<I", content, entry + 42)
            size = directory - start - 512  # each part claims most of the file behind its own start
            struct.pack_into("<II", content, entry + 20, size, size)
        entry += 46 + name + extra + comment
    path.write_bytes(content)
    with pytest.raises(UnsafeCheckpoint, match="its parts overlap"):
        read(path, "upscaling")


def test_tensors_that_repeat_a_small_storage_are_refused(tmp_path):
    torch.save({"w": torch.zeros(1).expand(2**20, 2**10)}, tmp_path / "repeated.pth")
    with pytest.raises(UnsafeCheckpoint, match=r"its tensors take 4 GiB of memory"):
        read(tmp_path / "repeated.pth", "upscaling")


def test_metadata_is_read_from_safetensors_alone(tmp_path):
    save_file(STATE, tmp_path / "model.safetensors", {"modelspec.prediction_type": "v"})
    torch.save(STATE, tmp_path / "model.pth")
    assert read_metadata(tmp_path / "model.safetensors") == {"modelspec.prediction_type": "v"}
    assert read_metadata(tmp_path / "model.pth") == {}
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(UnreadableCheckpoint, match="not a complete safetensors file"):
        read_metadata(tmp_path / "model.safetensors")


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "git lfs pull"),
        (b"\n<!DOCTYPE html>\n<html><title>Sign in</title>", "it is a web page"),
        (b"\xef\xbb\xbf<HTML>", "it is a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "it is a web page"),
        (b'{"error": "Repository not found"}', "it is text|not a complete safetensors file"),
        (b"Not Found", "it is text|not a complete safetensors file"),
        (b"PK\x03\x04 cut", "not a complete"),
        (b"\xff" * 64, "not a complete"),
    ],
)
def test_a_broken_file_is_a_named_error_of_one_line(tmp_path, suffix, content, message):
    name = f"model.{suffix}"
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableCheckpoint, match=rf"{message}.*download it again") as caught:
        read(tmp_path / name, "upscaling")
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_without_tensors_is_a_named_error(tmp_path):
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WrongArchitecture, match="it holds a list"):
        read(tmp_path / "list.pth", "upscaling")
    with pytest.raises(WeightsNotFound, match="no such file"):
        read(tmp_path / "absent.pth", "upscaling")


def test_filling_needs_every_key_and_shape():
    with torch.device("meta"):
        linear = torch.nn.Sequential()
        linear.a = torch.nn.Linear(3, 2)
    with pytest.raises(WrongArchitecture, match=r"it has no a\.bias"):
        fill(linear, {"a.weight": STATE["a.weight"]}, "x")
    with pytest.raises(WrongArchitecture, match=r"an unknown b \(and 1 more\)"):
        fill(linear, STATE | {"b": torch.ones(1), "c": torch.ones(1)}, "x")
    with pytest.raises(WrongArchitecture, match=r"a.bias is \(3,\), not \(2,\)"):
        fill(linear, STATE | {"a.bias": torch.ones(3)}, "x")
    with pytest.raises(WrongArchitecture, match=r"a.bias is int64, not floating point"):
        fill(linear, STATE | {"a.bias": torch.ones(2).long()}, "x")
    assert fill(linear, STATE, "x")(torch.ones(1, 3)).tolist() == [[4, 13]]


def test_the_digest_is_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_of(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("raised", [KeyError("a.weight"), IndexError("too far"), Exception("tokenizers raises this")])
def test_an_error_of_a_library_becomes_a_named_one(raised):
    with (
        pytest.raises(WrongArchitecture, match=r"model\.bin does not fit CLIP.*download it again") as caught,
        architecture_boundary("model.bin", "CLIP"),
    ):
        raise raised
    assert str(raised.args[0]) in str(caught.value)


def test_other_errors_pass_unchanged():
    with pytest.raises(StopAsyncIteration), architecture_boundary("model.bin", "CLIP"):
        raise StopAsyncIteration


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("no file /home/ada/models/unet/config.json here", "no file config.json here"),
        ("local-dir:/home/ada/clip: broken", "local-dir:clip: broken"),
        ("see https://huggingface.co/docs/x", "see https://huggingface.co/docs/x"),
    ],
)
def test_a_reason_is_one_line_without_the_machines_folders(message, expected):
    assert library_reason(OSError(f"{message}\nmore")) == expected

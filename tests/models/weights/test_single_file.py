"""Single files: recognised by their keys, sized by their shapes, equal to the networks they were written from."""

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from models.briefs import WeightsUsed
from models.errors import WrongArchitecture
from models.weights import pipelines, single_file, vocabulary
from models.weights.catalog import resolve
from models.weights.checkpoints import read
from tests import tiny_single


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("single")
    return {kind: tiny_single.single_file(folder / f"{kind}.safetensors", kind) for kind in ("sd15", "sd21", "sdxl")}


@pytest.mark.parametrize("kind", ["sd15", "sd21", "sdxl"])
def test_a_single_file_holds_the_networks_it_was_written_from(files, kind):
    weights = resolve("diffusion", str(files[kind]))
    pipeline = pipelines.load(weights, torch.float32)
    assert weights.recipe_entry() == WeightsUsed(
        "diffusion", f"{kind}.safetensors", weights.files[0][1][:12], "unknown"
    )
    assert type(pipeline).__name__ == ("StableDiffusionXLPipeline" if kind == "sdxl" else "StableDiffusionPipeline")
    for name, expected in tiny_single.networks(kind).items():
        found = getattr(pipeline, name)
        wanted = expected.state_dict()
        assert found.state_dict().keys() == wanted.keys()
        assert all(torch.equal(value, wanted[key]) for key, value in found.state_dict().items())
        assert not found.training


@pytest.mark.parametrize("kind", ["sd15", "sd21", "sdxl"])
def test_a_single_file_denoises_as_its_source_does(files, kind):
    pipeline = pipelines.load(resolve("diffusion", str(files[kind])), torch.float32)
    source = tiny_single.networks(kind)["unet"]
    latents, context = torch.randn(2, 4, 8, 8), torch.randn(2, 5, source.config.cross_attention_dim)
    extra = {"text_embeds": torch.randn(2, 64), "time_ids": torch.randn(2, 6)} if kind == "sdxl" else None
    with torch.inference_mode():
        found, expected = (
            unet(latents, 7, encoder_hidden_states=context, added_cond_kwargs=extra).sample
            for unet in (pipeline.unet, source)
        )
    assert torch.equal(found, expected)


def test_networks_load_in_the_requested_precision(files):
    assert pipelines.load(resolve("diffusion", str(files["sd15"])), torch.bfloat16).unet.dtype == torch.bfloat16


def test_velocity_models_are_recognised(tmp_path, files):
    """SDXL files have a marker key; in SD 2.x the UNet runs once."""
    marked = tiny_single.single_file(tmp_path / "marked.safetensors", "sdxl", v_pred=torch.tensor([]))
    assert (
        pipelines.load(resolve("diffusion", str(marked)), torch.float32).scheduler.config.prediction_type
        == "v_prediction"
    )
    for shift, expected in ((0.0, "epsilon"), (-5.0, "v_prediction")):
        unet = tiny_single.networks("sd21")["unet"]
        unet.conv_out.bias.data.fill_(0.5 + shift)
        unet.conv_out.weight.data.zero_()
        assert single_file.guess_prediction_type("sd21", unet) == expected


@pytest.mark.parametrize(("shift", "size", "prediction"), [(0.0, 512, "epsilon"), (-5.0, 768, "v_prediction")])
def test_the_prediction_type_decides_the_size_of_sd2(tmp_path, files, shift, size, prediction):
    state = read(files["sd21"], "diffusion")
    state["model.diffusion_model.out.2.weight"].zero_()
    state["model.diffusion_model.out.2.bias"].fill_(0.5 + shift)
    save_file(state, tmp_path / "sd2.safetensors")
    pipeline = pipelines.load(resolve("diffusion", str(tmp_path / "sd2.safetensors")), torch.float32)
    assert pipeline.scheduler.config.prediction_type == prediction
    assert pipelines.native_size(pipeline) == size


def test_every_kind_pads_with_its_own_token(files):
    pipeline = pipelines.load(resolve("diffusion", str(files["sdxl"])), torch.float32)
    assert (pipeline.tokenizer.pad_token, pipeline.tokenizer_2.pad_token) == ("<|endoftext|>", "!")
    assert pipeline.tokenizer.model_max_length == 77


@pytest.mark.parametrize("text", ["a cup of coffee, 50% off!", "Żółta łódź — filiżanka", "it's  a   test\n☕"])
def test_the_packed_vocabulary_gives_clips_tokens(text):
    tokenizer = vocabulary.clip_tokenizer()
    expected = [token for token in open_clip.tokenizer.SimpleTokenizer()(text)[0].tolist() if token]
    assert tokenizer(text)["input_ids"] == expected


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"lora_unet_down.weight": 1}, "a LoRA or other adapter"),
        ({"double_blocks.0.img_attn.norm.key_norm.scale": 1}, "no complete SD 1.x, SD 2.x or SDXL model"),
    ],
)
def test_another_model_is_refused_in_one_line(tmp_path, keys, message):
    path = tmp_path / "other.safetensors"
    save_file({key: torch.zeros(1) for key in keys}, path)
    with pytest.raises(WrongArchitecture, match=message) as caught:
        pipelines.load(resolve("diffusion", str(path)), torch.float32)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("dropped", "named"),
    [
        ("model.diffusion_model.middle_block.0.in_layers.0.weight", "mid_block.resnets.0.norm1.weight"),
        ("model.diffusion_model.input_blocks.4.0.out_layers.3.weight", "input_blocks.4.0.out_layers.3.weight"),
        ("first_stage_model.encoder.down.0.block.0.conv2.weight", "encoder.down.0.block.0.conv2.weight"),
        ("first_stage_model.decoder.conv_in.weight", "decoder.conv_in.weight"),
        ("cond_stage_model.transformer.text_model.final_layer_norm.bias", "final_layer_norm.bias"),
        ("cond_stage_model.transformer.text_model.embeddings.token_embedding.weight", "token_embedding.weight"),
    ],
)
def test_a_file_without_a_tensor_is_refused_by_the_tensors_name(tmp_path, files, dropped, named):
    state = read(files["sd15"], "diffusion")
    del state[dropped]
    save_file(state, tmp_path / "hole.safetensors")
    with pytest.raises(WrongArchitecture, match=named.replace(".", r"\.")):
        pipelines.load(resolve("diffusion", str(tmp_path / "hole.safetensors")), torch.float32)


def test_an_inpainting_file_is_refused(tmp_path, files):
    state = read(files["sd15"], "diffusion")
    key = "model.diffusion_model.input_blocks.0.0.weight"
    state[key] = torch.cat([state[key], state[key], state[key][:, :1]], dim=1)
    save_file(state, tmp_path / "inpainting.safetensors")
    with pytest.raises(WrongArchitecture, match="9 channels"):
        pipelines.load(resolve("diffusion", str(tmp_path / "inpainting.safetensors")), torch.float32)

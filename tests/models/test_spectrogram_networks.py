from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from parameter_counts import count_parameters
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from trainyard.errors import ConfigError
from trainyard.models import EfficientNetV2, MobileNetV2, PannsCnn14, build_model, from_model_config, model_config
from trainyard.models.blocks import ConvNorm, SpectrogramNetwork, StochasticDepth, make_norm
from trainyard.models.weights import Report, load_matching, read_weights

CLASSES = ("a", "b", "c")
SMALL: dict[str, dict[str, Any]] = {
    "efficientnet_v2": {"size": "small"},
    "panns_cnn14": {"width": 2},
    "mobilenet_v2": {"width": 0.25},
}
names = pytest.mark.parametrize("name", SMALL)


def small(name: str, shape: tuple[int, ...] = (1, 64, 50), **params: Any) -> Any:
    torch.manual_seed(0)
    return build_model(name, item_shape=shape, classes=CLASSES, **{**SMALL[name], **params})


class TestPublished:
    @pytest.mark.parametrize(
        ("build", "published"),
        [
            (lambda: EfficientNetV2("s", 3, 1000, image_size=(384, 384)), 21_458_488),
            (lambda: EfficientNetV2("m", 3, 1000, image_size=(480, 480)), 54_139_356),
            (lambda: EfficientNetV2("l", 3, 1000, image_size=(480, 480)), 118_515_272),
            (lambda: MobileNetV2(1.0, 3, 1000, image_size=(224, 224)), 3_504_872),
            (lambda: PannsCnn14(64, 1, 527, image_size=(64, 1000)), 80_753_615),
        ],
        ids=["efficientnet_v2_s", "efficientnet_v2_m", "efficientnet_v2_l", "mobilenet_v2", "cnn14"],
    )
    def test_parameters_are_as_many_as_published(self, build: Callable[[], nn.Module], published: int) -> None:
        with torch.device("meta"):
            assert count_parameters(build())["total"] == published

    def test_the_small_efficientnet_is_one_for_the_edge(self) -> None:
        with torch.device("meta"):
            total = count_parameters(EfficientNetV2("small", 1, 10, image_size=(64, 50)))["total"]
        assert 2_500_000 < total < 2_700_000

    @pytest.mark.parametrize(
        ("name", "shape", "expected"),
        [
            # from torchvision's state dicts of efficientnet_v2_s and mobilenet_v2, and from Cnn14_mAP=0.431.pth
            (
                "efficientnet_v2",
                (3, 64, 64),
                {
                    "features.0.0.weight": (24, 3, 3, 3),
                    "features.1.0.block.0.0.weight": (24, 24, 3, 3),
                    "features.2.0.block.0.0.weight": (96, 24, 3, 3),
                    "features.2.0.block.1.1.running_var": (48,),
                    "features.4.0.block.1.0.weight": (256, 1, 3, 3),
                    "features.4.0.block.2.fc1.weight": (16, 256, 1, 1),
                    "features.4.0.block.2.fc2.bias": (256,),
                    "features.6.14.block.3.0.weight": (256, 1536, 1, 1),
                    "features.7.0.weight": (1280, 256, 1, 1),
                },
            ),
            (
                "mobilenet_v2",
                (3, 64, 64),
                {
                    "features.0.0.weight": (32, 3, 3, 3),
                    "features.1.conv.0.0.weight": (32, 1, 3, 3),
                    "features.1.conv.1.weight": (16, 32, 1, 1),
                    "features.1.conv.2.running_mean": (16,),
                    "features.17.conv.0.1.weight": (960,),
                    "features.17.conv.2.weight": (320, 960, 1, 1),
                    "features.18.0.weight": (1280, 320, 1, 1),
                },
            ),
            (
                "panns_cnn14",
                (1, 64, 64),
                {
                    "bn0.weight": (64,),
                    "conv_block1.conv1.weight": (64, 1, 3, 3),
                    "conv_block6.conv2.weight": (2048, 2048, 3, 3),
                    "conv_block6.bn2.running_var": (2048,),
                    "fc1.bias": (2048,),
                },
            ),
        ],
    )
    def test_names_and_shapes_are_those_of_published_weights(
        self, name: str, shape: tuple[int, ...], expected: dict[str, tuple[int, ...]]
    ) -> None:
        full = {"efficientnet_v2": {"size": "s"}}.get(name, {})
        with torch.device("meta"):
            state = build_model(name, item_shape=shape, classes=CLASSES, **full).state_dict()
        assert {key: tuple(state[key].shape) for key in expected} == expected

    def test_mobilenet_computes_what_transformers_does(self) -> None:
        transformers = pytest.importorskip("transformers")
        config = transformers.MobileNetV2Config(
            image_size=32,
            depth_multiplier=0.25,
            tf_padding=False,
            layer_norm_eps=1e-5,
            num_labels=3,
            finegrained_output=True,
            min_depth=8,
            depth_divisible_by=8,
            classifier_dropout_prob=0.0,
        )
        theirs = transformers.MobileNetV2ForImageClassification(config).eval()
        ours = small("mobilenet_v2", (3, 40, 32)).eval()
        source, target = theirs.state_dict(), ours.state_dict()
        assert [tuple(tensor.shape) for tensor in source.values()] == [tuple(t.shape) for t in target.values()]
        generator = torch.Generator().manual_seed(0)
        for tensor in source.values():  # running statistics, too, so that batch norms count
            values = torch.rand(tensor.shape, generator=generator) if tensor.ndim < 2 else tensor * 4
            tensor.copy_(values)
        ours.load_state_dict(dict(zip(target, source.values(), strict=True)))
        images = torch.randn(2, 3, 40, 32, generator=generator)
        with torch.inference_mode():
            expected, got = theirs(images).logits, ours(images)
        assert expected.std() > 1e-3
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)

    def test_cnn14_computes_what_the_published_code_does(self) -> None:
        model = small("panns_cnn14").eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
        mels = torch.randn(2, 1, 64, 50)
        x = mels.transpose(2, 3)  # [B, 1, frames, mels], as theirs
        x = model.bn0(x.transpose(1, 3)).transpose(1, 3)
        for number in range(1, 7):
            block = model.get_submodule(f"conv_block{number}")
            x = functional.relu_(block.bn1(block.conv1(x)))
            x = functional.relu_(block.bn2(block.conv2(x)))
            x = functional.avg_pool2d(x, kernel_size=(2, 2) if number < 6 else (1, 1))
        x = torch.mean(x, dim=3)
        x = torch.max(x, dim=2).values + torch.mean(x, dim=2)
        expected = model.classifier(functional.relu_(model.fc1(x)))
        torch.testing.assert_close(model(mels), expected)


class TestEveryNetwork:
    @names
    @pytest.mark.parametrize("shape", [(1, 64, 50), (1, 32, 32), (3, 40, 33), (64, 50)])
    def test_gives_logits_of_items_of_any_size(self, name: str, shape: tuple[int, ...]) -> None:
        model = small(name, shape).eval()
        assert model(torch.randn(2, *shape)).shape == (2, 3)
        images = torch.randn(2, *(shape if len(shape) == 3 else (1, *shape)))
        embeddings = model.embed(images)
        assert embeddings.shape == (2, model.embedding_size)
        assert torch.equal(model.classifier(embeddings), model(images))

    @names
    @pytest.mark.parametrize("norm", ["batch", "group", "instance"])
    def test_every_parameter_learns_with_every_norm(self, name: str, norm: str) -> None:
        model = small(name, (1, 64, 64), norm=norm).train()
        for module in model.modules():
            if isinstance(module, StochasticDepth):
                module.probability = 0.0  # may by chance drop a block for both items
        functional.cross_entropy(model(torch.randn(2, 1, 64, 64)), torch.tensor([0, 2])).backward()
        assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []
        expected = {"batch": nn.BatchNorm2d, "group": nn.GroupNorm, "instance": nn.InstanceNorm2d}
        norms = [m for m in model.modules() if isinstance(m, (nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d))]
        assert {type(module) for module in norms} == {expected[norm]}

    @names
    def test_a_last_batch_of_one_item_trains_and_keeps_statistics_finite(self, name: str) -> None:
        model = small(name, (1, 32, 32)).train()  # one pixel is left at the end
        logits = model(torch.randn(1, 1, 32, 32))
        assert logits.shape == (1, 3)
        logits.sum().backward()
        assert all(tensor.isfinite().all() for tensor in model.state_dict().values())

    @names
    def test_without_dropout_training_draws_no_random_numbers(self, name: str) -> None:
        model = small(name, dropout=0.0).train()
        before = torch.get_rng_state()
        model(torch.randn(2, 1, 64, 50, generator=torch.Generator().manual_seed(0)))
        assert torch.equal(torch.get_rng_state(), before)

    @names
    def test_another_head_can_take_the_classifiers_place(self, name: str) -> None:
        model = small(name).eval()
        model.classifier = nn.Linear(model.embedding_size, 7)
        assert model(torch.randn(2, 1, 64, 50)).shape == (2, 7)

    @names
    def test_config_json_rebuilds_it_without_asking_for_the_weights_it_began_with(self, name: str) -> None:
        params = {**SMALL[name], "norm": "group", "trainable_blocks": 2}
        config = model_config(name, item_shape=(1, 64, 50), classes=CLASSES, weights="gone.pth", **params)
        rebuilt = from_model_config(config)
        built = build_model(name, item_shape=(1, 64, 50), classes=CLASSES, **params)
        rebuilt.load_state_dict(built.state_dict())
        images = torch.randn(2, 1, 64, 50)
        assert torch.equal(rebuilt.eval()(images), built.eval()(images))
        trains = [parameter.requires_grad for parameter in built.parameters()]
        assert [parameter.requires_grad for parameter in rebuilt.parameters()] == trains


class TestTrainableBlocks:
    @names
    def test_the_last_blocks_and_the_head_train_and_the_rest_keeps_its_statistics(self, name: str) -> None:
        model = small(name, (1, 64, 64), trainable_blocks=1, dropout=0.0)
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        before = copy.deepcopy(model.state_dict())
        model.train()
        functional.cross_entropy(model(torch.randn(4, 1, 64, 64)), torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()
        changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
        head = {
            "efficientnet_v2": ("features.6.", "features.7.", "classifier."),
            "mobilenet_v2": ("features.17.", "features.18.", "classifier."),
            "panns_cnn14": ("conv_block6.", "fc1.", "classifier."),
        }[name]
        assert all(key.startswith(head) for key in changed)
        for part in head:
            assert any(key.startswith(part) and key.endswith("weight") for key in changed), part
        assert any("running_var" in key for key in changed)

    @pytest.mark.parametrize(("name", "blocks"), [("efficientnet_v2", 7), ("mobilenet_v2", 18), ("panns_cnn14", 6)])
    def test_zero_trains_the_head_all_trains_all_and_more_is_an_error(self, name: str, blocks: int) -> None:
        nothing, everything = small(name, trainable_blocks=0), small(name, trainable_blocks=blocks)
        assert nothing.classifier.weight.requires_grad
        assert 0 < count_parameters(nothing)["trainable"] < count_parameters(nothing)["total"]
        assert count_parameters(everything)["trainable"] == count_parameters(everything)["total"]
        with pytest.raises(ConfigError, match=f"trainable_blocks={blocks + 1}.*{blocks} blocks") as caught:
            small(name, trainable_blocks=blocks + 1)
        assert "null" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("panns_cnn14", {"item_shape": (1, 31, 50)}, "31 x 50"),
        ("panns_cnn14", {"item_shape": (1, 32, 63), "norm": "instance"}, "32 x 63"),
        ("mobilenet_v2", {"item_shape": (1, 32, 32), "norm": "instance"}, "32 x 32"),
        ("efficientnet_v2", {"item_shape": (1, 8, 8), "norm": "instance"}, "8 x 8"),
        ("efficientnet_v2", {"item_shape": (64,)}, "(64,)"),
        ("efficientnet_v2", {"size": "xl"}, "model.size"),
        ("mobilenet_v2", {"norm": "layer"}, "model.norm"),
        ("mobilenet_v2", {"width": 0}, "model.width"),
        ("panns_cnn14", {"width": 1.5}, "model.width"),
        ("panns_cnn14", {"trainable_blocks": -1}, "model.trainable_blocks"),
        ("panns_cnn14", {"qat": "yes"}, "model.qat"),
        ("panns_cnn14", {"size": "s"}, "model.size"),
    ],
)
def test_what_cannot_be_built_is_an_error_that_names_it(name: str, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_model(name, **{"item_shape": (1, 64, 50), "classes": CLASSES, **arguments})
    assert said in str(caught.value)


def test_groups_hold_sixteen_channels_or_more() -> None:
    for channels in (8, 16, 24, 96, 152, 320, 1280):
        norm = make_norm("group", channels)
        assert isinstance(norm, nn.GroupNorm)
        assert channels % norm.num_groups == 0
        assert channels / norm.num_groups >= min(16, channels)
    assert make_norm("group", 1280).num_groups == 80


def test_stochastic_depth_keeps_the_expectation_and_drops_whole_items() -> None:
    torch.manual_seed(0)
    dropped = StochasticDepth(0.2).train()(torch.ones(20_000, 1, 2, 2))
    assert set(dropped.unique().tolist()) == {0.0, 1.25}
    assert torch.equal(dropped, dropped[:, :, :1, :1].expand_as(dropped))
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.01)


class Stem(SpectrogramNetwork):
    """Small enough to see what was loaded."""

    published_names: ClassVar[Mapping[str, str]] = {"fc.": "classifier."}

    def __init__(self, channels: int = 1, classes: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(ConvNorm(channels, 4, norm="batch", activation=nn.ReLU))
        self.classifier = nn.Linear(4, classes)

    def embed(self, images: Tensor) -> Tensor:
        return self.features(images).mean(dim=(2, 3))


class TestWeights:
    def test_every_tensor_is_accounted_for(self) -> None:
        state = Stem(classes=5).state_dict()
        state["extra.weight"] = state.pop("features.0.1.bias")
        model = Stem()
        report = load_matching(model, state, "w.pth")
        assert report.missing == ("features.0.1.bias",)
        assert report.unexpected == ("extra.weight",)
        assert dict(report.skipped) == {
            "classifier.weight": "5 x 4 in the file, 3 x 4 in the model",
            "classifier.bias": "5 in the file, 3 in the model",
        }
        assert set(report.matched) == set(model.state_dict()) - {*report.skipped, *report.missing}
        assert torch.equal(model.state_dict()["features.0.0.weight"], state["features.0.0.weight"])
        said = report.describe()
        assert "\n" not in said
        for part in ("w.pth", "5 of the model's 8", "5 x 4", "features.0.1.bias", "extra.weight"):
            assert part in said

    def test_colour_weights_do_to_one_channel_what_they_did_to_a_grey_image(self) -> None:
        colour, grey = Stem(channels=3).eval(), Stem(channels=1).eval()
        report = load_matching(grey, colour.state_dict(), "w.pth")
        assert dict(report.reshaped) == {"features.0.0.weight": "3 input channels summed into 1"}
        assert "summed" in report.describe()
        image = torch.randn(2, 1, 8, 8)
        torch.testing.assert_close(grey(image), colour(image.expand(2, 3, 8, 8)))

    @pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "_orig_mod.module."])
    @pytest.mark.parametrize("key", [None, "state_dict", "model"])
    def test_wrappers_of_names_and_of_files_are_seen_through(self, prefix: str, key: str | None) -> None:
        source, model = Stem(), Stem()
        state: dict[str, Any] = {f"{prefix}{name}": tensor for name, tensor in source.state_dict().items()}
        report = load_matching(model, {key: state, "epoch": 3} if key else state, "w.pth")
        assert (report.missing, report.unexpected, dict(report.skipped)) == ((), (), {})
        assert all(torch.equal(tensor, source.state_dict()[name]) for name, tensor in model.state_dict().items())

    def test_published_spellings_find_their_place(self) -> None:
        source, model = Stem(), Stem()
        state = {name.replace("classifier.", "fc."): tensor for name, tensor in source.state_dict().items()}
        assert load_matching(model, state, "w.pth").unexpected == ()
        assert torch.equal(model.classifier.weight, source.classifier.weight)

    @pytest.mark.parametrize(
        ("name", "theirs"),
        [("efficientnet_v2", "classifier.1."), ("mobilenet_v2", "classifier.1."), ("panns_cnn14", "fc_audioset.")],
    )
    def test_a_whole_published_state_dict_loads(self, name: str, theirs: str) -> None:
        source, model = small(name), small(name)
        state = {
            key.replace("classifier.", theirs): torch.rand(value.shape).to(value)
            for key, value in source.state_dict().items()
        }
        report = load_matching(model, state, "w.pth")
        assert len(report.matched) == len(state)
        assert torch.equal(model.classifier.weight, state[f"{theirs}weight"])

    @pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
    def test_build_model_loads_a_file_and_hands_out_the_report(self, tmp_path: Path, suffix: str) -> None:
        source = small("mobilenet_v2")
        path = tmp_path / f"weights{suffix}"
        save_file(source.state_dict(), path) if suffix == ".safetensors" else torch.save(source.state_dict(), path)
        reports: list[Report] = []
        torch.manual_seed(1)
        model = build_model(
            "mobilenet_v2",
            item_shape=(1, 64, 50),
            classes=CLASSES,
            width=0.25,
            weights=str(path),
            on_weights=reports.append,
        )
        assert len(reports[0].matched) == len(source.state_dict())
        images = torch.randn(2, 1, 64, 50)
        assert torch.equal(model.eval()(images), source.eval()(images))

    def test_weights_of_another_network_are_an_error(self) -> None:
        with pytest.raises(ConfigError) as caught:
            load_matching(Stem(), {"encoder.weight": torch.ones(3)}, "w.pth")
        assert (caught.value.keys, caught.value.value) == (("model.weights",), "w.pth")
        assert "encoder.weight" in caught.value.what
        with pytest.raises(ConfigError, match="it holds nothing"):
            load_matching(Stem(), {"epoch": 3}, "w.pth")

    @pytest.mark.parametrize("content", [b"", b"nonsense", None])
    @pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
    def test_what_cannot_be_read_is_an_error_that_names_the_file(
        self, tmp_path: Path, content: bytes | None, suffix: str
    ) -> None:
        path = tmp_path / f"weights{suffix}"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            read_weights(path)
        assert str(path) in caught.value.what
        assert caught.value.remedy

    def test_a_file_that_would_run_code_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.pth"
        torch.save(Stem(), path)
        with pytest.raises(ConfigError) as caught:
            read_weights(path)
        assert caught.value.keys == ("model.weights",)

"""`params.yaml` as typed, frozen models: one section a stage, every problem reported at once.

The comments in `params.yaml` document each key for people; this file is what is enforced. A test
holds the two together.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from monge.errors import ParamsError

SOURCES = (
    "digits", "folder", "archive",
    "mnist", "fashion-mnist", "cifar10", "svhn", "stl10", "celeba", "lsun",
)  # fmt: skip


NET_SECTIONS = {"dcgan": "dcgan", "dcgan-plain": "dcgan", "mlp": "mlp"}
"""Each name of `train.net`, and its section of `train`: a training rests on no other one."""

OBJECTIVE_SECTIONS = {"wgan": "wgan", "wgan-gp": "wgan-gp"}
"""The same for `train.objective`."""


def _one_line(text: str) -> str:
    """Refuse control characters: what holds them cannot stand on a command line of DVC's."""
    if any(ord(character) < 32 for character in text):
        raise ValueError("must be one line")
    return text


Line = Annotated[str, AfterValidator(_one_line)]
PARAMS_FILE = "MONGE_PARAMS_FILE"
"""The environment variable with a run's parameters, which were fixed when it began: a file that
stands for the project's params.yaml wherever no other one is named."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
LearningRate = Annotated[float, Field(gt=0.0, le=1.0)]
CriticSteps = Annotated[int, Field(ge=1, le=1000)]


class Section(BaseModel):
    """A frozen section that refuses unknown keys and does not convert types on the quiet."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class PrepareParams(Section):
    """Where the images come from and what they become."""

    source: Literal[SOURCES] = "digits"  # type: ignore[valid-type]
    path: Line = "data/raw"
    resolution: Annotated[int, Field(ge=4, le=1024)] = 8
    colour: Literal["grey", "rgb"] = "grey"
    fit: Literal["crop", "pad"] = "crop"
    background: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")] = "#000000"
    validation_fraction: Annotated[float, Field(gt=0.0, le=0.5)] = 0.2
    seed: Seed = 0
    max_rejected_fraction: Fraction = 0.01
    max_images: Annotated[int, Field(ge=1, le=100_000_000)] = 10_000_000
    max_pixels: Annotated[int, Field(ge=1, le=1_000_000_000)] = 100_000_000
    workers: Annotated[int, Field(ge=0, le=1024)] = 0


class MlpParams(Section):
    """A multilayer perceptron on both sides (WGAN paper, figure 7: 4 layers of 512)."""

    depth: Annotated[int, Field(ge=1, le=64)] = 4
    width: Annotated[int, Field(ge=1, le=65536)] = 512


class DcganParams(Section):
    """Both convolutional families: `features` is f in the widths 16f, 8f, 4f, 2f."""

    features: Annotated[int, Field(ge=1, le=1024)] = 64
    critic_norm: Literal["instance", "batch", "none"] = "instance"


class WganParams(Section):
    """Arjovsky et al. 2017, Algorithm 1."""

    learning_rate: LearningRate = 5e-5
    critic_steps: CriticSteps = 5
    clip: Annotated[float, Field(gt=0.0, le=10.0)] = 0.01


class WganGpParams(Section):
    """Gulrajani et al. 2017, Algorithm 1."""

    learning_rate: LearningRate = 1e-4
    critic_steps: CriticSteps = 5
    penalty_weight: Annotated[float, Field(gt=0.0, le=1e6)] = 10.0


class GuardParams(Section):
    """What becomes of a training that goes wrong."""

    patience: Annotated[int, Field(ge=1)] = 200
    on_divergence: Literal["fail", "retry"] = "fail"
    on_dead_critic: Literal["fail", "warn"] = "fail"
    on_frozen_generator: Literal["fail", "warn"] = "fail"
    on_exploding_critic: Literal["fail", "warn"] = "warn"
    on_collapse: Literal["fail", "warn"] = "warn"


class TrainParams(Section):
    """The networks, the objective, and how long."""

    net: Literal[tuple(NET_SECTIONS)] = "mlp"  # type: ignore[valid-type]
    objective: Literal[tuple(OBJECTIVE_SECTIONS)] = "wgan-gp"  # type: ignore[valid-type]
    conditional: bool = False
    latent_dim: Annotated[int, Field(ge=1, le=4096)] = 64
    steps: Annotated[int, Field(ge=1, le=1_000_000_000)] = 4000
    batch_size: Annotated[int, Field(ge=2, le=65536)] = 64
    accumulate: Annotated[int, Field(ge=1, le=65536)] = 1
    flip: bool = False
    data: Literal["auto", "resident", "streamed"] = "auto"
    extra_critic_steps: Literal["none", "authors"] = "none"
    learning_rate_decay: Literal["none", "linear"] = "linear"
    average_half_life: Annotated[int, Field(ge=0)] = 20_000
    init_from: Line = ""
    seed: Seed = 0
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    devices: Annotated[int, Field(ge=1, le=4096)] = 1
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    capture: Literal["auto", "off", "graph"] = "auto"
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    log_every: Annotated[int, Field(ge=1)] = 50
    grid_every: Annotated[int, Field(ge=1)] = 500
    quality_every: Annotated[int, Field(ge=1)] = 500
    checkpoint_every: Annotated[int, Field(ge=1)] = 500
    checkpoint_every_minutes: Annotated[float, Field(gt=0.0, le=1e6)] = 10.0
    keep_checkpoints: Annotated[int, Field(ge=1, le=1000)] = 3
    guards: GuardParams = GuardParams()
    mlp: MlpParams = MlpParams()
    dcgan: DcganParams = DcganParams()
    wgan: WganParams = WganParams()
    wgan_gp: WganGpParams = Field(default=WganGpParams(), alias="wgan-gp")


class ExportParams(Section):
    """Which weights leave, and how they are checked."""

    checkpoint: Literal["best", "last"] = "best"
    weights: Literal["averaged", "raw"] = "averaged"
    variant: Literal["float32", "float16", "int8"] = "float32"
    optimize_for: Literal["latency", "throughput"] = "latency"
    tolerance: Annotated[float, Field(gt=0.0, le=1.0)] = 1e-4


class EvaluateParams(Section):
    """How much evidence the judgement rests on."""

    images: Annotated[int, Field(ge=50, le=1_000_000)] = 5000
    transport_images: Annotated[int, Field(ge=10, le=10_000)] = 1000
    projections: Annotated[int, Field(ge=1, le=100_000)] = 512
    repeats: Annotated[int, Field(ge=2, le=1000)] = 5
    features: Literal["auto", "classifier", "random", "pixels", "inception"] = "auto"
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 256
    provider: Literal["auto", "cpu", "cuda"] = "auto"
    seed: Seed = 0


class Condition(Section):
    """What one figure must be. `improvement` is in joint standard errors over the champion's."""

    metric: Annotated[str, Field(min_length=1)]
    at_most: float | None = None
    at_least: float | None = None
    improvement: Annotated[float, Field(ge=0.0)] | None = None


class PromoteParams(Section):
    """Under which name, and what counts as better."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")] = "monge-digits"
    mode: Literal["on", "dry-run", "off"] = "on"
    conditions: Annotated[list[Condition], Field(min_length=1, max_length=100)] = [
        Condition(metric="frechet", improvement=2.0)
    ]


class Params(Section):
    """The whole of `params.yaml`."""

    prepare: PrepareParams = PrepareParams()
    train: TrainParams = TrainParams()
    export: ExportParams = ExportParams()
    evaluate: EvaluateParams = EvaluateParams()
    promote: PromoteParams = PromoteParams()


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads as YAML 1.2 and DVC do: 5e-5 is a number, and `on` is a word."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def load(
    path: Path | str = "params.yaml",
    overrides: list[str] | None = None,
    exactly: Mapping[str, Mapping[str, Any]] | None = None,
) -> Params:
    """Read a parameter file and lay `section.key=value` overrides over it.

    `exactly` has whole sections that stand in the place of the file's.
    Raises ParamsError with every problem of file and overrides, each with its dotted path.
    """
    path = Path(path)
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise ParamsError(
            f"{path}: no such file. Run monge in the project's folder, or name one with --params."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ParamsError(f"{path}: is not YAML that can be read: {reason}") from None
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ParamsError(f"{path}: must be a mapping of stages, got {type(document).__name__}")
    document |= exactly or {}
    problems = []
    for override in overrides or []:
        problem = _apply(document, override)
        if problem:
            problems.append(problem)
    return _validate(document, problems, str(path))


def scalar(text: str) -> Any:
    """What a value in a parameter file, or behind `--set section.key=`, means."""
    return yaml.load(text, _Loader)


def _apply(document: dict[str, Any], override: str) -> str | None:
    """Lay one `section.key=value` over the document; the problem with it, if any."""
    name, equals, text = override.partition("=")
    *sections, key = name.strip().split(".")
    if not (equals and key and sections and all(sections)):
        return f"--set {override}: must read section.key=value, as in train.steps=100"
    try:
        value = scalar(text)
    except yaml.YAMLError:
        return f"--set {override}: the value is not YAML"
    target = document
    for section in sections:
        target = target.setdefault(section, {})
        if not isinstance(target, dict):
            return f"--set {override}: {section} is not a section"
    target[key] = value
    return None


def _validate(document: dict[str, Any], problems: list[str], where: str) -> Params:
    try:
        params = Params.model_validate(document)
    except ValidationError as error:
        problems = problems + [_sentence(item) for item in error.errors()]
    else:
        problems = problems + _impossible_pairs(params)
        if not problems:
            return params
    plural = "problem" if len(problems) == 1 else "problems"
    lines = "\n".join(f"  {problem}" for problem in problems)
    raise ParamsError(f"{where}: {len(problems)} {plural}\n{lines}")


_RENAMED = {
    "prepare.size": (
        "It is prepare.resolution now: DVC 3 overlooks changes of a parameter that is called size."
    ),
}


def _sentence(item: Any) -> str:
    """One pydantic problem as `path: what is wanted, what was got`."""
    path = [part for part in item["loc"] if isinstance(part, str)]
    dotted = ".".join(path)
    if dotted in _RENAMED:
        return f"{dotted}: unknown key. {_RENAMED[dotted]}"
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _known_keys(path[:-1]), n=1, cutoff=0.5)
        hint = f" Did you mean {'.'.join([*path[:-1], near[0]])}?" if near else ""
        return f"{dotted}: unknown key.{hint}"
    message = item["msg"].removeprefix("Input ").removeprefix("Value error, ")
    for long, short in (
        ("should be", "must be"),
        ("greater than or equal to", "at least"),
        ("less than or equal to", "at most"),
    ):
        message = message.replace(long, short)
    return f"{dotted}: {message[0].lower()}{message[1:]}, got {item['input']!r}"


def _known_keys(path: list[str]) -> list[str]:
    model: Any = Params
    for part in path:
        field = model.model_fields.get(part)
        if field is None:
            return []
        model = next(iter(get_args(field.annotation)), field.annotation)  # a list's items
    return [field.alias or name for name, field in model.model_fields.items()]


def _impossible_pairs(params: Params) -> list[str]:
    """Combinations that are each valid alone but not together."""
    problems = []
    train, prepare = params.train, params.prepare
    convolutional = NET_SECTIONS[train.net] == "dcgan"
    if convolutional and train.objective == "wgan-gp" and train.dcgan.critic_norm == "batch":
        problems.append(
            "train.dcgan.critic_norm: batch cannot be used with train.objective: wgan-gp, because "
            "the penalty is on each image's own gradient and batch norm ties the images of a batch "
            "together (Gulrajani et al. 2017, section 4). Use instance or none."
        )
    if convolutional and prepare.resolution not in (8, 16, 32, 64, 128):
        problems.append(
            f"prepare.resolution: {train.net} needs a power of two from 8 to 128, got "
            f"{prepare.resolution}. Change prepare.resolution, or use train.net: mlp."
        )
    parts = train.accumulate * train.devices
    if train.batch_size % parts:
        problems.append(
            f"train.batch_size: {train.batch_size} cannot be cut into train.accumulate x "
            f"train.devices = {parts} equal parts. Choose a multiple of {parts}."
        )
    if params.export.variant == "float16" and params.export.optimize_for == "throughput":
        problems.append(
            "export.variant: float16 cannot be used with export.optimize_for: throughput, whose "
            "sums lose too much in sixteen bits. Use latency (a GPU chooses its own form), or "
            "float32 or int8."
        )
    for condition in params.promote.conditions:
        if condition.model_fields_set <= {"metric"}:
            problems.append(
                f"promote.conditions: {condition.metric}: asks for nothing. Give it at_most, "
                "at_least, or improvement."
            )
    evaluate = params.evaluate
    if evaluate.images < 10 * evaluate.repeats:
        problems.append(
            f"evaluate.images: must be at least 10 times evaluate.repeats ({evaluate.repeats}), "
            f"got {evaluate.images}. Raise the one or lower the other."
        )
    return problems

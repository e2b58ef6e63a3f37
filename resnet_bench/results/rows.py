"""The schema of everything a study writes: columns, units, file names; read, check, write CSV.

Producers (torch) and consumers (pandas, matplotlib) meet only here, so this module needs neither.
A table is a frozen dataclass; each field carries its unit and meaning, and the data dictionary
`results/README.md` is generated from them. Values are raw (percent as 0-100); an empty cell means not measured.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from typing import Any, TypeVar

from resnet_bench.config.run import OPTIMIZERS, POSITIVE, SCHEDULES
from resnet_bench.errors import UsageError
from resnet_bench.execution import MEMORY_FORMATS, MODES, PRECISIONS
from resnet_bench.schema import Invalid, Rule, from_json

SCHEMA_VERSION = 1
STATUSES = ("ok", "diverged")
FAMILY = "cifar: 6n+2 layers; imagenet: ImageNet style; imagenet-small: with a 3x3 stem; own: the user's builder"


def input_size_of(image_shape: tuple[int, int, int]) -> str:
    """(channels, height, width) as the columns input_size have it: `32x32x3`, height first."""
    channels, height, width = image_shape
    return f"{height}x{width}x{channels}"


# What the unit of a column says of its values.
UNITS = {
    "%": Rule(0, 100),
    "s": Rule(0, 1e12, measured=True),
    "epochs": Rule(0, 1e12),
    "layers": Rule(1, 100_000),
    "FLOPs": Rule(0, 10**18),
    **dict.fromkeys(("img/s", "ms", "GFLOP/s", "GB/s", "MHz", "W"), Rule(0, 1e18)),
}
RUN_ID = Rule(
    pattern=r"(?!\.\.?$)[a-z0-9._-]{1,80}", wanted="a run id ([a-z0-9._-], at most 80 characters, not . or ..)"
)
DIGEST = Rule(pattern="[0-9a-f]{64}", wanted="a SHA-256 (64 hex digits)")
DIGEST_OR_NONE = Rule(pattern="([0-9a-f]{64})?", wanted="a SHA-256 (64 hex digits) or empty")
SIZE = Rule(pattern="([0-9]{1,6}x[0-9]{1,6}x[0-9]{1,6})?", wanted="height x width x channels, as in 32x32x3")
SEED = Rule(0, 2**31 - 1)
SETTING = Rule(
    pattern=r"([a-z_]+=[ -~]{1,400})?", wanted="a setting (fields and values, as in steps=400, lr=0.1) or empty"
)
CLASSES = Rule(2, 1_000_000)
LOGITS = Rule(0, 1_000_000)  # one class is enough to count a network's work; 0: not recorded


def column(meaning: str, unit: str = "", key: bool = False, default: Any = MISSING, rule: Rule | None = None) -> Any:
    """A dataclass field that knows its unit, its meaning, and whether it is part of the table's key.

    What it may hold is said by its type and by its rule, else by that of its unit. Older files lack a column that came
    later; it has a default, which is what their rows are given.
    """
    rule = rule or UNITS.get(unit)
    return field(metadata={"meaning": meaning, "unit": unit, "key": key, "rule": rule}, default=default)


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """One run that the study consists of, finished or not."""

    run_id: str = column("readable, content-addressed name of the run", key=True, rule=RUN_ID)
    family: str = column(FAMILY, default="cifar")
    arch: str = column("plain, residual, or another builder of torchvision by its name")
    depth: int = column("weighted layers on the main path", "layers")
    shortcut: str = column("shortcut option a, b or c; none for plain")
    seed: int = column("the run's seed, split into named streams (init, order, augmentation)", rule=SEED)
    setting: str = column(
        "what the study varies, and the run's values, as in steps=400, lr=0.1; empty: nothing", default="", rule=SETTING
    )
    rules: int = column(
        "version of the rules of judgement when the run was planned; 0: it was not recorded", default=0, rule=Rule(0)
    )
    twin_digest: str = column(
        "SHA-256 of the run's configuration without its networks' arch and shortcut: equal for twins; empty: not "
        "recorded",
        default="",
        rule=DIGEST_OR_NONE,
    )


@dataclass(frozen=True, kw_only=True)
class SplitRow:
    """Where an image of a folder that had one tree only was put; there is no such file where the data came split."""

    image: str = column("its path in the folder", key=True)
    class_name: str = column("the folder that it lies in")
    split: str = column("train, test, or validation where there is that")


@dataclass(frozen=True, kw_only=True)
class CurveRow:
    """The state of one run after `step` optimizer updates."""

    run_id: str = column("the run", key=True, rule=RUN_ID)
    step: int = column("optimizer updates so far", "steps", key=True)
    epoch: float = column("training images seen / size of the training set", "epochs")
    lr: float = column("learning rate of the last update", rule=Rule(0))
    train_loss: float = column("mean cross-entropy since the last row, train mode, augmented", "nats")
    train_top1_err: float = column("running training error since the last row, train mode, augmented", "%")
    train_clean_loss: float = column("mean cross-entropy on training images, eval mode, not augmented", "nats")
    train_clean_top1_err: float = column("error on training images, eval mode, not augmented", "%")
    train_clean_images: int = column("training images evaluated for this row", "images")
    test_loss: float = column("mean cross-entropy on test images, eval mode", "nats")
    test_top1_err: float = column("error on test images, eval mode", "%")
    test_images: int = column("test images evaluated for this row", "images")
    validation_loss: float | None = column("mean cross-entropy on validation images, if any", "nats", default=None)
    validation_top1_err: float | None = column("error on validation images, eval mode, if any", "%", default=None)
    train_seconds: float = column("seconds spent in training steps so far", "s")
    eval_seconds: float = column("seconds spent in evaluation so far", "s")


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One finished run: what was trained, on what, where, and what came out."""

    run_id: str = column("readable, content-addressed name of the run", key=True, rule=RUN_ID)
    study: str = column("the study's folder under results/")
    dataset: str = column("name of the data that were really used")
    dataset_digest: str = column("SHA-256 over decoded pixels and labels", rule=DIGEST)
    family: str = column(FAMILY, default="cifar")
    arch: str = column("plain, residual, or another builder of torchvision by its name")
    depth: int = column("weighted layers on the main path", "layers")
    shortcut: str = column("shortcut option a, b or c; none for plain")
    seed: int = column("the run's seed, split into named streams (init, order, augmentation)", rule=SEED)
    protocol: str = column("name and version of the training protocol")
    status: str = column("ok, or diverged: the loss was not finite, which is a result", rule=Rule(among=STATUSES))
    steps: int = column("optimizer updates done", "steps")
    diverged_step: int | None = column("first step whose loss was not finite", "steps")
    batch_size: int = column("images per step", "images", rule=POSITIVE)
    lr: float = column("the schedule's highest learning rate", rule=Rule(0))
    optimizer: str = column("sgd (with momentum), adam or adamw", default="sgd", rule=Rule(among=OPTIMIZERS))
    schedule: str = column("of the learning rate: step or cosine", default="step", rule=Rule(among=SCHEDULES))
    lr_warmup_steps: int | None = column(
        "steps at the lower first rate (config.json: rule, window); empty: no such phase", "steps"
    )
    weights: str = column(
        "SHA-256 of what all layers but the classifier began with; empty: drawn by seed",
        default="",
        rule=DIGEST_OR_NONE,
    )
    weights_origin: str = column("where those are from: study and run, file, or torchvision", default="")
    frozen_parts: int = column("stem and stages that were not trained, from the first", default=0)
    input_size: str = column(
        "height x width x channels of an image; empty: not recorded", "pixels", default="", rule=SIZE
    )
    num_classes: int = column("classes of the data", rule=CLASSES)
    train_images: int | None = column("that the run was trained on; empty: not recorded", "images", default=None)
    validation_images: int | None = column("kept from training, to select a state by", "images", default=None)
    params: int = column("parameters")
    macs: int = column("multiply-adds of convolutions and the classifier, per image, forward", "MACs")
    final_train_clean_top1_err: float | None = column("training error at the last step, eval mode, not augmented", "%")
    final_train_clean_images: int | None = column("training images in that error", "images")
    final_test_top1_err: float | None = column("test error at the last step: the headline", "%")
    final_test_images: int | None = column("test images in that error", "images")
    selected_step: int | None = column(
        "step with the lowest validation error, whose state is kept; empty: no validation images", "steps", default=None
    )
    selected_validation_top1_err: float | None = column("validation error there", "%", default=None)
    selected_test_top1_err: float | None = column("test error of that state: the headline then", "%", default=None)
    best_test_top1_err: float | None = column("lowest test error over rows with the whole test set; no headline", "%")
    best_step: int | None = column("step of the lowest test error", "steps")
    step_below_80_err: int | None = column("first row whose running training error is under 80 %", "steps")
    init_digest: str = column("SHA-256 over the initial weights that twins share", rule=DIGEST)
    batches_digest: str = column(
        "chained SHA-256 over dataset digest and every index, offset and flip drawn", rule=DIGEST
    )
    eval_digest: str = column("SHA-256 over the indices of the images evaluated in rows and at the end", rule=DIGEST)
    checkpoint_digest: str = column(
        "SHA-256 of what its checkpoint.pt holds (in the seal's second line): the last state, and the selected one; "
        "empty: not recorded, or diverged",
        rule=DIGEST_OR_NONE,
        default="",
    )
    train_seconds: float = column("seconds in training steps", "s")
    eval_seconds: float = column("seconds in evaluation", "s")
    img_per_sec: float = column("training images per second of train_seconds", "img/s")
    exclusive: bool | None = column("did other processes use under 5 % of the processors (last attempt)")
    device: str = column("processor or GPU model")
    threads: int = column("CPU threads within one operation", rule=POSITIVE)
    precision: str = column("fp32, tf32 or bf16", rule=Rule(among=PRECISIONS))
    compile: str = column(
        "how the step was executed: eager, compile or graph; one mode for a whole study", rule=Rule(among=MODES)
    )
    torch_version: str = column("torch release and build")
    git_commit: str = column(
        "commit of the code, empty outside a checkout",
        rule=Rule(pattern="[0-9a-f]{0,64}", wanted="a commit (hex digits)"),
    )
    git_dirty: bool | None = column("did tracked files differ from that commit")
    started_utc: str = column("start of the first attempt, ISO 8601")
    attempts: int = column("how often the run was started", rule=POSITIVE)
    bit_exact: bool = column("were all attempts on the same hardware, software and commit")
    schema_version: int = column("version of this schema")

    def check_together(self) -> None:
        """Raise Invalid for a step after the last one."""
        for name in ("diverged_step", "lr_warmup_steps", "selected_step", "best_step", "step_below_80_err"):
            step = getattr(self, name)
            if step is not None and step > self.steps:
                raise Invalid(f"{step} is after the last step, {self.steps}", name)


@dataclass(frozen=True, kw_only=True)
class SignalRow:
    """What one weighted layer does at one moment of a run, for one fixed batch in train mode, not augmented."""

    run_id: str = column("the run", key=True, rule=RUN_ID)
    step: int = column("optimizer updates so far; 0: before the first", "steps", key=True)
    layer: str = column("name of the layer in the network", key=True)
    layer_index: int = column("its place on the main path, 1 for the first")
    response_std: float = column("standard deviation of its response: after BN, before addition and ReLU", rule=Rule(0))
    grad_norm: float = column("L2 norm of the loss's gradient by its weights", rule=Rule(0))
    weight_norm: float = column("L2 norm of its weights", rule=Rule(0))
    dead_fraction: float | None = column(
        "share of its channels that are 0 after ReLU throughout the batch; 0 to 1", rule=Rule(0, 1)
    )


@dataclass(frozen=True, kw_only=True)
class ConfusionRow:
    """How many test images of one class a finished run takes for another (or the same).

    At its last step, or in the state that validation images selected.
    """

    run_id: str = column("the run", key=True, rule=RUN_ID)
    true_class: str = column("what the images show", key=True)
    predicted_class: str = column("what the network says", key=True)
    images: int = column("test images; pairs of classes without any are left out, save a class with itself", "images")


@dataclass(frozen=True, kw_only=True)
class ComplexityRow:
    """The size of a network: a closed form, checked against two counters; of one of the user's own, what these say."""

    family: str = column(FAMILY, key=True, default="cifar")
    arch: str = column("plain, residual, or another builder of torchvision by its name", key=True)
    depth: int = column("weighted layers on the main path", "layers", key=True)
    shortcut: str = column("shortcut option a, b or c; none for plain", key=True)
    input_size: str = column("height x width x channels of an image", "pixels", key=True, rule=SIZE)
    num_classes: int = column("length of the logits", key=True, rule=LOGITS)
    params: int = column("trainable parameters")
    macs: int = column("multiply-adds of convolutions and the classifier, per image, forward", "MACs")
    fvcore_total: int = column(
        "fvcore's total in eval mode: macs, 2 per element for BN, 1 for average pooling; 0: not counted"
    )
    flops_forward: int = column("torch's FlopCounterMode, per image, forward: 2 per multiply-add", "FLOPs")
    flops_train_step: int = column("the same counter, forward and backward, per image", "FLOPs")
    activations: int = column("elements that convolutions and the classifier put out, per image; 0: not counted")


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One weighted layer, BN layer or pooling of one network of the study."""

    family: str = column(FAMILY, key=True, default="cifar")
    arch: str = column("plain, residual, or another builder of torchvision by its name", key=True)
    depth: int = column("weighted layers on the main path", "layers", key=True)
    shortcut: str = column("shortcut option a, b or c; none for plain", key=True)
    input_size: str = column("height x width x channels of an image", "pixels", key=True, default="", rule=SIZE)
    num_classes: int = column("length of the logits", key=True, default=0, rule=LOGITS)
    layer: str = column("name of the layer in the network", key=True)
    kind: str = column("conv, batch norm, max pool, pool, linear")
    output_shape: str = column("channels x height x width of what it puts out", "elements")
    params: int = column("trainable parameters")
    params_percent: float = column("share of the network's parameters", "%")
    macs: int = column("multiply-adds per image, forward", "MACs")
    macs_percent: float = column("share of the network's multiply-adds", "%")


@dataclass(frozen=True, kw_only=True)
class ThroughputRow:
    """Speed of one network in one mode, measured in rounds, in turn with the other networks of its depth."""

    fingerprint: str = column(
        "first 8 hex digits of a SHA-256 over hardware, software and settings",
        key=True,
        rule=Rule(pattern="[0-9a-f]{8}", wanted="8 hex digits"),
    )
    family: str = column(FAMILY, key=True, default="cifar")
    arch: str = column("plain, residual, or another builder of torchvision by its name", key=True)
    depth: int = column("weighted layers on the main path", "layers", key=True)
    shortcut: str = column("shortcut option a, b or c; none for plain", key=True)
    mode: str = column("train_step: batch, forward, backward, update, error counting; inference: forward", key=True)
    batch_size: int = column("images per step", "images", key=True, rule=POSITIVE)
    precision: str = column("fp32, tf32 or bf16", key=True, rule=Rule(among=PRECISIONS))
    memory_format: str = column("nchw or nhwc", key=True, rule=Rule(among=MEMORY_FORMATS))
    optimizer: str = column(
        "whose update a train step makes: sgd, adam or adamw", key=True, default="sgd", rule=Rule(among=OPTIMIZERS)
    )
    compile: str = column("how it was executed: eager, compile or graph", key=True, rule=Rule(among=MODES))
    input_size: str = column("height x width x channels of an image", "pixels", key=True, rule=SIZE)
    num_classes: int = column("length of the logits", key=True, rule=LOGITS)
    img_per_sec: float = column("images per second, median over rounds", "img/s")
    img_per_sec_iqr: float = column("interquartile range over rounds", "img/s")
    rounds: int = column("timed rounds, each of at least 0.3 s, after a warm-up of three steps and 0.3 s")
    step_ms: float = column("time of one batch, median over rounds", "ms")
    compile_seconds: float = column(
        "time to compile (or load from the compiler's cache) or capture; 0 in eager mode", "s"
    )
    peak_memory_bytes: int = column("weights, optimizer and what one step allocates; without the dataset", "bytes")
    macs: int = column("multiply-adds per image, forward", "MACs")
    flops_per_step: int = column("torch's FlopCounterMode x batch size: 2 per multiply-add, BN not counted", "FLOPs")
    achieved_gflops: float = column("flops_per_step per time of a batch", "GFLOP/s")
    peak_gflops: float = column("a large matrix product in the same precision, in the same session", "GFLOP/s")
    peak_gbytes: float = column("a large copy in the same session, read and written", "GB/s")
    utilisation: float = column("achieved_gflops in percent of peak_gflops", "%", rule=Rule(0, 1e6))
    exclusive: bool | None = column("did other processes use under 5 % of the processors while it was measured")
    device: str = column("processor or GPU model")
    threads: int = column("CPU threads within one operation", rule=POSITIVE)
    gpu_clock_mhz: int | None = column("clock of the GPU's multiprocessors right after; empty on CPU", "MHz")
    gpu_power_limit_watts: float | None = column("enforced power limit of the GPU; empty on CPU", "W")
    gpu_throttled: str = column("active reasons why the GPU slowed its clocks; empty: none, or CPU")
    torch_version: str = column("torch release and build")
    git_commit: str = column(
        "commit of the code, empty outside a checkout",
        rule=Rule(pattern="[0-9a-f]{0,64}", wanted="a commit (hex digits)"),
    )
    measured_utc: str = column("when, ISO 8601")


@dataclass(frozen=True, kw_only=True)
class ConstructionRow:
    """A deep plain net made from a trained shallow one by inserting layers that pass everything through."""

    seed: int = column("of the trained shallow net", key=True, rule=SEED)
    shallow_depth: int = column("layers of the trained net", "layers", key=True)
    deep_depth: int = column("layers of the constructed net", "layers", key=True)
    test_images: int = column("test images that both were run on, in eval mode", "images")
    max_logit: float = column("largest magnitude of the shallow net's logits")
    max_logit_difference: float = column("largest difference between the two nets' logits")
    different_predictions: int = column("test images that the two call differently", "images")
    shallow_test_top1_err: float = column("test error of the shallow net", "%")
    constructed_test_top1_err: float = column("test error of the constructed net", "%")
    constructed_train_clean_top1_err: float = column("its error on the final training images, not augmented", "%")
    scratch_train_clean_top1_err: float | None = column("final training error of the same depth from scratch", "%")


@dataclass(frozen=True, kw_only=True)
class ContinuationRow:
    """The constructed net, trained on by the study's own protocol from its first step."""

    seed: int = column("of the trained shallow net, and of the batches", key=True, rule=SEED)
    shallow_depth: int = column("layers of the trained net", "layers", key=True)
    deep_depth: int = column("layers of the constructed net", "layers", key=True)
    step: int = column("optimizer updates so far; 0: as constructed", "steps", key=True)
    train_clean_top1_err: float = column("error on training images, eval mode, not augmented", "%")
    test_top1_err: float = column("error on test images, eval mode", "%")


@dataclass(frozen=True, kw_only=True)
class LesionRow:
    """A trained net without one of its blocks (two layers): what is left is its shortcut, or nothing in a plain net."""

    run_id: str = column("the trained net", key=True, rule=RUN_ID)
    block: int = column(
        "which block is taken out, 1 for the first; plain blocks that change shapes cannot be", key=True
    )
    stage: int = column("1, 2 or 3")
    changes_shape: bool = column("is it a block at the start of a stage, with stride 2")
    test_images: int = column("fixed test images", "images")
    intact_top1_err: float = column("error of the whole net on them", "%")
    lesioned_top1_err: float = column("error without the block", "%")


@dataclass(frozen=True, kw_only=True)
class TransferRow:
    """One finished run of a transfer folder: how a network that was trained elsewhere does on a few images."""

    mode: str = column("scratch, feature-extraction or fine-tune", key=True)
    images_per_class: float = column(
        "training and validation images by class, in the mean", "images", key=True, rule=Rule(0, 1e12)
    )
    family: str = column(FAMILY, key=True)
    arch: str = column("plain, residual, or another builder of torchvision by its name", key=True)
    depth: int = column("weighted layers on the main path", "layers", key=True)
    shortcut: str = column("shortcut option a, b or c; none for plain", key=True)
    protocol: str = column("name and version of the training protocol", key=True)
    seed: int = column(
        "of the new classifier (from scratch: of all weights), the batches and augmentation", key=True, rule=SEED
    )
    study: str = column("folder of the run's study, in the transfer folder", key=True)
    run_id: str = column("the run there", rule=RUN_ID)
    dataset: str = column("name of the data that were really used")
    dataset_digest: str = column("SHA-256 over decoded pixels and labels", rule=DIGEST)
    weights: str = column("SHA-256 of the weights that it began with; empty: drawn by seed", rule=DIGEST_OR_NONE)
    weights_origin: str = column("where those are from: study and run, file, or torchvision")
    frozen_parts: int = column("stem and stages that were not trained, from the first")
    train_images: int = column("that the run was trained on", "images")
    validation_images: int = column("that its state was selected by", "images")
    test_images: int | None = column("in the test errors; empty, as the errors, if the run diverged", "images")
    selected_epoch: float | None = column("epoch with the lowest validation error", "epochs", rule=Rule(0, 1e12))
    val_top1_err: float | None = column("validation error there; the lowest of many, so it flatters", "%")
    test_top1_err: float | None = column("test error of that state: the headline", "%")
    last_test_top1_err: float | None = column("test error at the last step", "%")


@dataclass(frozen=True, kw_only=True)
class ClaimRow:
    """One claim and what this study's runs say of it, by rules that are the same for every study."""

    claim: str = column("short name of the claim", key=True)
    subject: str = column("the networks it is about, as in residual (A)", key=True)
    setting: str = column(
        "at which values of what the study varies it is judged, as in plan.csv; no column without such",
        key=True,
        default="",
    )
    rules: int = column("version of the rules of judgement")
    kind: str = column("paper: a claim of the paper; sound: whether the comparison is; beyond: not in the paper")
    statement: str = column("the claim in words")
    scope: str = column("after how much training, on what data: what the verdict is about")
    verdict: str = column("supported, contradicted, no relevant difference, undecided or not measured, in this scope")
    trained: str = column(
        "the verdict on trained networks: the same, or not testable by this protocol; empty: no claim about training"
    )
    trained_because: str = column("why the protocol reaches trained networks, or does not")
    effect: float | None = column("mean over seeds of the difference that the test is about, in the row's unit")
    low: float | None = column("lower end of its 95 % interval over seeds, before correction")
    high: float | None = column("upper end of its 95 % interval over seeds, before correction")
    unit: str = column("points (of error), times (a ratio, its mean is geometric), or % (of the way to chance)")
    n: int = column("seeds")
    nearest: str = column("the verdict that the data come nearest to, which p is of; empty: no test")
    p: float | None = column("p-value of that verdict, two-sided, before correction")
    p_holm: float | None = column("p-value corrected for all tests of the study (weighted Holm)")
    margin: float | None = column("difference that matters, in the row's unit")
    test: str = column("the test, and on what")
    evidence: str = column("what was seen, in words")


Row = TypeVar(
    "Row",
    PlanRow,
    SplitRow,
    CurveRow,
    RunRow,
    SignalRow,
    ConfusionRow,
    ComplexityRow,
    LayerRow,
    ThroughputRow,
    ConstructionRow,
    ContinuationRow,
    LesionRow,
    TransferRow,
    ClaimRow,
)


def parse_row(row_type: type[Row], value: Any, where: str) -> Row:
    """A row from a JSON object, checked like a line of CSV."""
    try:
        row: Row = from_json(row_type, value)
    except Invalid as error:
        raise UsageError(f"{where}: {error}") from None
    return row

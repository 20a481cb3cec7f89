"""What an experiment is: one frozen record that says what is built, tuned, read and tested."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from gendkit.recipe import TrainConfig

SOURCES = ("official", "fixed", "kit")
PROFILES = ("fast", "demo", "full")
# Of a frozen encoder each crop is encoded twice, under two augmentations, not in every epoch.
FROZEN = {"feature_draws": 2}
NORM_SCALE = 10.0  # of unit features, for an encoder that trains for a minute; the paper's is 1


@dataclass(frozen=True)
class Data:
    """What a run reads.

    Args:
        kind: "lists": the official list files, relative to the folder that holds `config/`.
            "nobody": manifests, relative to the data folder; of them the rows with the role fit
            (train), select (val) and report (test).
        train: Lists or manifests.
        val: Lists or manifests that choose the epoch.
        test: Group -> lists or manifests; each group is scored apart.
        n_frames: Frames of each video.
        methods: Manipulations to train and to choose the epoch on, beside the reals; empty for
            all. What is tested stays.
    """

    kind: str
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: Mapping[str, tuple[str, ...]]
    n_frames: int = 32
    methods: tuple[str, ...] = ()

    def narrow(self, rows: "pd.DataFrame") -> "pd.DataFrame":
        """Drop fit and select rows of manipulations that the run must not see.

        Args:
            rows: Manifest with method, label and role.

        Returns:
            The rows that stay, index kept.
        """
        if not self.methods:
            return rows
        learns = rows["role"].isin(["fit", "select"]) & (rows["label"] == 1)
        return rows[~learns | rows["method"].isin(self.methods)]


def nobody(train: str = "manifest", methods: tuple[str, ...] = ()) -> Data:
    """Give the data of a run on Nobody's Faces.

    Args:
        train: "manifest", "paired" or "unpaired": the table of `data/nobody` to train on.
        methods: As in `Data`.
    """
    return Data(
        kind="nobody",
        train=(f"nobody/{train}.csv",),
        val=("nobody/manifest.csv",),
        test={"nobody": ("nobody/manifest.csv",), "nobody-x": ("nobody-x/manifest.csv",)},
        n_frames=3,
        methods=methods,
    )


@dataclass(frozen=True)
class Experiment:
    """A named run.

    Args:
        name: Its name.
        family: Which family it belongs to (`gendkit experiments list --family`).
        source: "official" (as in the official code, traps included), "fixed" (one of those,
            corrected) or "kit" (our own).
        backbone: A name of `backbones.names()`; None where the kit has no such detector.
        head: "linear" or "LinearNorm"; None as above.
        tune: What is tuned, for `adapters.tune`: "layernorm", "lora", "bitfit", "probe", "full";
            None if the run only tests.
        tune_options: For `adapters.tune`.
        model_options: For `model.build`, beside backbone, head and losses.
        losses: Weights: cross_entropy, label_smoothing, alignment, uniformity.
        training: Fields of `TrainConfig`; None if the run only tests.
        weights: What a run that only tests loads: an id on the hub, "run:NAME" for the weights of
            another run, "third-party:PATH", or "" for a run that trains.
        corruption: (name, level) for `transforms.corrupt`, applied to every test crop; or None.
        data: What it reads.
        settings: Of official runs: the resolved settings that differ from the official defaults,
            under the official names. Empty for the kit's own runs: `view` tells all of them.
        note: What a reader must know: traps, or what a comparison needs. May be empty.
    """

    name: str
    family: str
    source: str
    backbone: str | None
    head: str | None
    tune: str | None
    data: Data
    losses: Mapping[str, float] = field(default_factory=dict)
    training: Mapping[str, Any] | None = None
    tune_options: Mapping[str, Any] = field(default_factory=dict)
    model_options: Mapping[str, Any] = field(default_factory=dict)
    weights: str = ""
    corruption: tuple[str, int] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    @property
    def trains(self) -> bool:
        """Whether it trains; otherwise it tests what `weights` names."""
        return self.training is not None

    @property
    def recipe(self) -> "TrainConfig | None":
        """The settings for `train.train`; None if the run only tests."""
        if self.training is None:
            return None
        from gendkit.recipe import TrainConfig

        return TrainConfig(**self.training)

    def build(self, pretrained: bool = True, start: Callable[[Any], Any] | None = None) -> Any:
        """Build the detector and set what is tuned.

        Args:
            pretrained: False for random encoder weights (no download).
            start: Called with the plain detector before anything is tuned, to give its head a
                start (`adapters.init_head`).

        Returns:
            The detector as `adapters.tune` returns it.

        Raises:
            ValueError: If the run only tests: load its `weights`.
        """
        if not self.trains:
            raise ValueError(f"{self.name} trains nothing; load its weights: {self.weights}")
        from gendkit import adapters, model

        weights = {name: self.losses[name] for name in ("alignment", "uniformity")}
        detector = model.build(
            self.backbone,
            self.head,
            pretrained=pretrained,
            label_smoothing=self.losses["label_smoothing"],
            **weights,
            **self.model_options,
        )
        if start is not None:
            start(detector)
        return adapters.tune(detector, self.tune, **self.tune_options)

    def at(self, profile: str) -> "Experiment":
        """Give the run as a profile runs it.

        Args:
            profile: "fast": the embedded encoder on Nobody's Faces, with the settings of
                `TrainConfig()`. "demo": CLIP B/16 on Nobody's Faces, with the paper's recipe.
                "full": as it is written; a run of the kit on CLIP L/14 with the paper's recipe.
                Head, what is tuned, loss weights, augmentation and seed stay; so do batches of
                pairs or not, where the run says it.

        Returns:
            The run itself or a changed copy of the same name.

        Raises:
            ValueError: If the profile is unknown, or the run tests weights that are no run's.
        """
        if profile not in PROFILES:
            raise ValueError(f"got profile {profile!r}, expected one of {', '.join(PROFILES)}")
        if profile == "full" and self.source != "kit":
            return self
        if self.weights and not self.weights.startswith("run:"):
            raise ValueError(
                f"{self.name} tests {self.weights}, which has no {profile} version; "
                "use --profile full, or an experiment that trains"
            )
        table = self.name.split("-")[1] if self.family == "paired" else "manifest"
        data = self.data if self.data.kind == "nobody" else nobody(table)
        if profile == "fast":
            small = self.source == "kit" and self.backbone == "embedded"
            if small:
                return self
            cached = FROZEN if self.tune == "probe" else {}
            return self._resized("embedded", data, _fast(self.training, **cached))
        backbone = {"demo": "clip-b16", "full": "clip-l14"}[profile]
        if self.source == "kit" and self.backbone != "embedded":
            backbone = self.backbone
        training = self.training
        if training and self.source == "kit":  # only the small encoder goes without augmentation
            training = {name: value for name, value in training.items() if name != "augment"}
        return self._resized(backbone, replace(data, n_frames=16), _paper(training))

    def _resized(self, backbone: str, data: Data, training: dict | None) -> "Experiment":
        small = backbone == "embedded" and self.head == "LinearNorm"
        options = {"feature_scale": NORM_SCALE} if small else {}
        return replace(self, backbone=backbone, data=data, training=training, model_options=options)

    def exposure(self) -> dict[str, str]:
        """Say of each test group what the run has seen of it before.

        Returns:
            Group -> "in-domain" (other videos of its collection are trained on), "selection-seen"
            (they choose the epoch, and are not trained on) or "unseen". Collections that share
            source videos count as one.
        """
        fit, select = (
            {_collection(p) for p in paths} for paths in (self.data.train, self.data.val)
        )
        tags = {}
        for group, paths in self.data.test.items():
            own = {_collection(path) for path in paths}
            known = "selection-seen" if own & select else "unseen"
            tags[group] = "in-domain" if own & fit else known
        return tags

    def view(self) -> dict[str, Any]:
        """Give what the kit runs as a plain dictionary, ready for JSON."""
        recipe = None
        if self.training is not None:
            from dataclasses import asdict

            recipe = asdict(self.recipe)
        return {
            "backbone": self.backbone,
            "head": self.head,
            "tune": self.tune,
            "tune_options": dict(self.tune_options),
            "model_options": dict(self.model_options),
            "losses": dict(self.losses),
            "weights": self.weights,
            "corruption": corruption_of(self),
            "recipe": recipe,
            "data": {
                "kind": self.data.kind,
                "train": list(self.data.train),
                "val": list(self.data.val),
                "test": {group: list(paths) for group, paths in self.data.test.items()},
                "n_frames": self.data.n_frames,
                "methods": list(self.data.methods),
            },
        }


# Collections made from the videos of another one.
# Source: the cards in gendkit.benchmarks; for Celeb-DF++ its list of sources in the official code.
_MADE_FROM = {"FSh": "FF", "CDFv3": "CDFv2", "FaceFusion": "CDFv2"}


def _collection(path: str) -> str:
    """Name what a list or manifest belongs to: its folder, without the marks of the crops."""
    folder = path.removeprefix("config/datasets/").split("/")[0].split("-x1.")[0]
    return _MADE_FROM.get(folder, folder)


# What stays of a recipe when a run is made smaller or larger; the rest is the profile's.
_KEPT = ("alignment", "uniformity", "label_smoothing", "augment", "paired", "seed")


def _fast(training: Mapping[str, Any] | None, **more: Any) -> dict[str, Any] | None:
    if training is None:
        return None
    return {name: training[name] for name in _KEPT if name in training} | more


def _paper(training: Mapping[str, Any] | None) -> dict[str, Any] | None:
    from gendkit.experiments.settings import PAPER

    kept = _fast(training)
    return None if kept is None else {**PAPER, **kept}


def corruption_of(experiment: Experiment) -> dict[str, Any] | None:
    """Spell out the corruption of the test crops.

    Returns:
        {"name": ..., "level": ..., and its options}, or None.
    """
    if experiment.corruption is None:
        return None
    from gendkit.transforms import CORRUPTIONS

    name, level = experiment.corruption
    return {"name": name, "level": level, **CORRUPTIONS[name][level]}

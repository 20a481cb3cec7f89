"""What a card of a dataset holds: facts with their sources, and the tree expected on disk."""

from dataclasses import dataclass

# Where facts come from. "third party" is a reading of the release by others, not its authors.
SOURCES = {
    "gend": "official GenD code, github.com/yermandy/GenD at e03532d, src/utils/files.py, run_exp.py",
    "gend-1": "github.com/yermandy/GenD/issues/1",
    "gend-7": "github.com/yermandy/GenD/issues/7",
    "twind": "huggingface.co/yermandy/TwinD (years as the authors of GenD give them)",
    "ff": "github.com/ondyari/FaceForensics, dataset/README.md",
    "ff-terms": "github.com/ondyari/FaceForensics, README.md",
    "ff-shifter": "github.com/ondyari/FaceForensics, dataset/FaceShifter/README.md",
    "ff-script": "github.com/ondyari/FaceForensics/issues/82 (the official download script)",
    "ff-splits": "github.com/ondyari/FaceForensics, dataset/splits",
    "ff-lost": "github.com/ondyari/FaceForensics/issues/111",
    "cdf": "github.com/yuezunli/celeb-deepfakeforensics, README.md",
    "cdf-paper": "arXiv:1909.12962",
    "cdfpp": "github.com/OUC-VAS/Celeb-DF-PP, README.md",
    "ffiw": "github.com/tfzhou/FFIW, README.md",
    "ffiw-4": "github.com/tfzhou/FFIW/issues/4",
    "kodf": "github.com/deepbrainai-research/kodf, README.md",
    "kodf-paper": "arXiv:2103.10094",
    "favc": "github.com/DASH-Lab/FakeAVCeleb, README.md",
    "favc-site": "sites.google.com/view/fakeavcelebdash-lab/documentation",
    "dfdm": "github.com/shanface33/Deepfake_Model_Attribution, README.md",
    "dfdm-paper": "arXiv:2202.12951",
    "pgf": "github.com/tobuta/PolyGlotFake, README.md",
    "idf": "github.com/xyyandxyy/IDForge, README.md",
    "ds1": "huggingface.co/datasets/faridlab/deepspeak_v1_1",
    "ds1.0": "huggingface.co/datasets/faridlab/deepspeak_v1",
    "ds2": "huggingface.co/datasets/faridlab/deepspeak_v2",
    "ds-paper": "arXiv:2408.05366",
    "dfdc-paper": "arXiv:2006.07397",
    "dfdc-kaggle": "kaggle.com/c/deepfake-detection-challenge/data",
    "dfbench": "third party: github.com/SCLBD/DeepfakeBench, README.md",
    "sbi": "third party: github.com/mapooon/SelfBlendedImages, data/datasets.md",
    "dfwb": "third party: github.com/dfwb-research/deepfake-workbench, inventory builders",
    "kit": "this kit's own choice",
}
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Fact:
    """One statement and where it comes from.

    Args:
        text: The statement; it begins with "unknown" where nothing reliable was found.
        source: Key of `SOURCES`; empty for what is unknown.
    """

    text: str
    source: str = ""

    @property
    def known(self) -> bool:
        """Whether it states something."""
        return not self.text.startswith(UNKNOWN)

    @property
    def cited(self) -> str:
        """The statement with its source."""
        return f"{self.text} [{SOURCES[self.source]}]" if self.source else self.text


@dataclass(frozen=True)
class Part:
    """One folder of videos that is expected on disk.

    Args:
        folders: Where it may lie below the root, with "/"; the first that exists is taken.
            "{c}" stands for a compression.
        method: "real", or the manipulation as the official lists name it.
        count: Number of videos in the official release, for each compression; None: not known.
        name: Regular expression of a video's name without its suffix; "" accepts any.
        deep: Whether videos lie in subfolders.
        masks: Folder of the mask videos of the same names; "" if there are none.
        origin: Folder name of reals in the official lists, where a set has several kinds.
        script: What the FaceForensics++ download script calls it (-d).
    """

    folders: tuple[str, ...]
    method: str
    count: int | None = None
    name: str = ""
    deep: bool = False
    masks: str = ""
    origin: str = ""
    script: str = ""

    @property
    def is_real(self) -> bool:
        """Whether it holds reals."""
        return self.method == "real"


@dataclass(frozen=True)
class Card:
    """What is known of one dataset.

    Args:
        key: Short name, as in the paper.
        name: Full name.
        aliases: Other names by which it is found.
        folder: Name of the set in the official lists.
        year: Of release.
        methods: Manipulations.
        sources: Where the real videos come from.
        rights: What a user may do, and who says so.
        access: How to get it: form, script, page.
        size: On disk.
        splits: Official ones, and the kit's own.
        overlaps: Videos or people shared with other sets.
        tree: Where the expected tree comes from.
        parts: The expected tree.
        files: Lists beside the videos: tuples of places, of which one must exist.
        lists: Role to folder of the official lists; see `gendkit.benchmarks.paths`.
        compressions: Folder names that "{c}" may stand for.
        beside: Folders that belong to another set in the same root, with "/".
        renamed: Method to name of its official list, where they differ.
    """

    key: str
    name: str
    aliases: tuple[str, ...]
    folder: str
    year: Fact
    methods: tuple[Fact, ...]
    sources: tuple[Fact, ...]
    rights: tuple[Fact, ...]
    access: tuple[Fact, ...]
    size: tuple[Fact, ...]
    splits: tuple[Fact, ...]
    overlaps: tuple[Fact, ...]
    tree: Fact
    parts: tuple[Part, ...]
    files: tuple[tuple[str, ...], ...] = ()
    lists: tuple[tuple[str, str], ...] = (("report", "test"), ("select", "val"), ("fit", "train"))
    compressions: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()

    def facts(self) -> dict[str, tuple[Fact, ...]]:
        """All facts by heading, in the order in which they are read."""
        names = ("methods", "sources", "rights", "access", "size", "splits", "overlaps")
        return {
            "year": (self.year,),
            **{name: getattr(self, name) for name in names},
            "tree": (self.tree,),
        }

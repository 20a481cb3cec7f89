"""The 50 test groups of the official code and the 14 benchmarks of the paper, as data.

A group is a set of list files, scored together. A list file holds one frame path a line,
`<dataset>/<source>/<video>/<frame>`. Only two tiny sets of lists come with the official code; the
others belong to a gated dataset (`yermandy/GenD` on the hub), or are written from one's own crops.
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

ROOT = "config/datasets"
CDFV3 = "CDFv3-x1.3-th0.5-all/subset/uniform-32-frames"  # 32 evenly spaced frames, margin 1.3
FF = ("DF", "F2F", "FS", "NT", "real")
DEEPSPEAK_1 = ("facefusion_gan", "facefusion_live", "facefusion", "real", "retalking", "wav2lip")
DEEPSPEAK_2 = (
    *("diff2lip", "facefusion", "hellomeme", "latentsync", "liveportrait", "memo"),
    "real",
)
FAKEAVCELEB = (
    *("FV-FA-faceswap-wav2lip", "FV-FA-fsgan-wav2lip", "FV-FA-wav2lip"),
    *("FV-RA-faceswap", "FV-RA-fsgan", "FV-RA-wav2lip"),
    "RV-RA-real",
)
LANGUAGES = ("ar", "en", "es", "fr", "ja", "ru", "zh")
ABSENT = {"ru2ja_video_retalking", "zh2ja_video_retalking"}  # PolyGlotFake has no such fakes
CDFV3_METHODS = {
    "FS": (
        *("Celeb-DF-v2", "BlendFace", "GHOST", "HifiFace"),
        *("InSwapper", "MobileFaceSwap", "SimSwap", "UniFace"),
    ),
    "FR": ("DaGAN", "FSRT", "HyperReenact", "LIA", "LivePortrait", "MCNET", "TPSMM"),
    "TF": (
        *("AniTalker", "EchoMimic", "EDTalk", "FLOAT", "IP_LAP"),
        *("Real3DPortrait", "SadTalker"),
    ),
}  # face swap, face reenactment, talking face
CDFV3_REALS = ("Celeb-real", "YouTube-real")


def lists(folder: str, *names: str, before: str = "") -> tuple[str, ...]:
    """Name list files of one folder.

    Args:
        folder: Below `config/datasets`.
        *names: What the lists are of.
        before: Put before each name.

    Returns:
        Paths as the official code writes them.
    """
    return tuple(f"{ROOT}/{folder}/{before}{name}.txt" for name in names)


def cdfv3(split: str, *methods: str) -> tuple[str, ...]:
    """Name the lists of Celeb-DF++: those of some methods and of both kinds of reals, sorted.

    Args:
        split: "test" (the official one) or "my-val" (made by the authors of GenD).
        *methods: Names from `CDFV3_METHODS`; none means all 22.
    """
    chosen = methods or tuple(name for kind in CDFV3_METHODS.values() for name in kind)
    return lists(f"{CDFV3}/{split}", *sorted({*chosen, *CDFV3_REALS}))


def _polyglotfake() -> tuple[str, ...]:
    fakes = (
        f"{source}2{target}_{method}"
        for source in LANGUAGES
        for target in LANGUAGES
        if source != target
        for method in ("Wav2Lip", "video_retalking")
    )
    reals = (f"real-{language}" for language in LANGUAGES)
    return lists("PolyGlotFake", *reals, *(name for name in fakes if name not in ABSENT))


def _cdfv3_groups() -> dict[str, tuple[str, ...]]:
    groups = {"CDFv3": cdfv3("test")}
    groups |= {f"CDFv3-{kind}": cdfv3("test", *names) for kind, names in CDFV3_METHODS.items()}
    for kind, names in CDFV3_METHODS.items():
        for name in names:
            short = "CDFv2" if name == "Celeb-DF-v2" else name
            groups[f"CDFv3-{kind}-{short}"] = lists(f"{CDFV3}/test", name, *CDFV3_REALS)
    return groups


def _groups() -> dict[str, tuple[str, ...]]:
    cdf_reals = lists("CDFv2/test", "YouTube-real", "Celeb-real")
    favc_real = lists("FakeAVCeleb", "RV-RA-real")
    return {
        "FF": lists("FF/test", *FF),
        **{f"FF-{name}": lists("FF/test", name, "real") for name in FF[:-1]},
        "CDF": lists("CDFv2/test", "Celeb-synthesis") + cdf_reals,
        "FaceFusion": lists(
            "FaceFusion/test", "hififace_unofficial_256", "inswapper_128_fp16", before="cdf_"
        )
        + cdf_reals,
        "DFD": lists("DFD", "fake", "real"),
        "DFDC": lists("DFDC/test", "fake", "real"),
        "FSh": lists("FSh/test", "fake", "real"),
        "UADFD": lists("UADFD", "fake", "real"),
        "DFDM": lists("DFDM/all", "dfaker", "dfl", "iae", "lightweight")
        + lists("CDFv2/all", "Celeb-real"),
        "FFIW": lists("FFIW", "fake", "real", before="test-"),
        "DeepSpeak-1.1": lists("DeepSpeak-1.1/test", *DEEPSPEAK_1, before="test-"),
        "DeepSpeak-2.0": lists("DeepSpeak-2.0/test", *DEEPSPEAK_2, before="test-"),
        "KoDF": lists("KoDF", "real")
        + lists("KoDF", "audio-driven", "dffs", "dfl", "fo", "fsgan", before="fake-"),
        "KoDF-adv": lists("KoDF", "fake-adv", "real-adv"),
        "FakeAVCeleb": lists("FakeAVCeleb", *FAKEAVCELEB),
        "FAVC-FV-RA-WL": lists("FakeAVCeleb", "FV-RA-wav2lip") + favc_real,
        "FAVC-FV-FA-FS": lists("FakeAVCeleb", "FV-FA-faceswap-wav2lip") + favc_real,
        "FAVC-FV-FA-GAN": lists("FakeAVCeleb", "FV-FA-fsgan-wav2lip") + favc_real,
        "FAVC-FV-FA-WL": lists("FakeAVCeleb", "FV-FA-wav2lip") + favc_real,
        "PolyGlotFake": _polyglotfake(),
        "IDForge-v1": lists(
            "IDForge-v1/test",
            *("face_tts_infoswap", "face_tts_roop", "face_tts_simswap", "real"),
            before="test-",
        ),
        **_cdfv3_groups(),
    }


# Source: github.com/yermandy/GenD at e03532d, the groups that every run of the paper is tested on.
GROUPS: dict[str, tuple[str, ...]] = _groups()


@dataclass(frozen=True)
class Benchmark:
    """One of the paper's 14 benchmarks.

    Args:
        key: Short name in the paper.
        name: Full name.
        year: Of release, as the authors of GenD label it; of its paper where they give none
            (UADFV, DFDC, KoDF).
        group: Key of `GROUPS`.
        split: Which part is tested.
        facts: What a reader of its numbers should know.
    """

    key: str
    name: str
    year: int
    group: str
    split: str
    facts: str

    @property
    def lists(self) -> tuple[str, ...]:
        """Its list files."""
        return GROUPS[self.group]


# Source: arXiv:2508.06248 and github.com/yermandy/GenD at e03532d. That these are the 14 is inferred:
# the groups less FaceForensics++, FaceFusion, adversarial KoDF and the subgroups.
BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark("UADFV", "UADFV", 2018, "UADFD", "all", "The official code spells it UADFD."),
    Benchmark("DFD", "DeepFakeDetection", 2019, "DFD", "all", "One list of fakes, one of reals."),
    Benchmark("FSh", "FaceShifter", 2020, "FSh", "official test", "Made from FaceForensics++."),
    Benchmark(
        "CDFv2",
        "Celeb-DF v2",
        2020,
        "CDF",
        "official test",
        "Two kinds of reals. The lists called val are no official split: all that is not test.",
    ),
    Benchmark("DFDC", "Deepfake Detection Challenge", 2020, "DFDC", "official test", "Two lists."),
    Benchmark("FFIW", "Face Forensics in the Wild", 2021, "FFIW", "official test", "Two lists."),
    Benchmark(
        "KoDF",
        "Korean DeepFake Detection Dataset",
        2021,
        "KoDF",
        "own selection",
        "Five kinds of fakes. The adversarial lists (KoDF-adv) are no part of the 14.",
    ),
    Benchmark(
        "FAVC",
        "FakeAVCeleb",
        2021,
        "FakeAVCeleb",
        "all",
        "Fake sound over a real picture (RV-FA) is left out.",
    ),
    Benchmark(
        "DFDM",
        "Deepfakes from Different Models",
        2022,
        "DFDM",
        "all",
        "Four kinds of fakes; its reals are those of Celeb-DF v2.",
    ),
    Benchmark(
        "PGF",
        "PolyGlotFake",
        2024,
        "PolyGlotFake",
        "all",
        "Seven languages; 82 of 84 pairs of languages and methods exist.",
    ),
    Benchmark("IDF", "IDForge v1", 2024, "IDForge-v1", "official test", "Three kinds of fakes."),
    Benchmark(
        "DSv1.1",
        "DeepSpeak 1.1",
        2024,
        "DeepSpeak-1.1",
        "official test",
        "Five kinds of fakes. Validation lists of the paper's runs were sampled from its train.",
    ),
    Benchmark(
        "DSv2",
        "DeepSpeak 2.0",
        2025,
        "DeepSpeak-2.0",
        "official test",
        "Six kinds of fakes. Validation lists of the paper's runs were sampled from its train.",
    ),
    Benchmark(
        "CDFv3",
        "Celeb-DF++",
        2025,
        "CDFv3",
        "official test",
        "22 methods: 8 swaps, 7 reenactments, 7 talking faces. Version 1 of the paper lacks it.",
    ),
)


def get(key: str) -> Benchmark:
    """Find a benchmark by its short name, its group or its full name.

    Args:
        key: For example "CDFv2", "CDF" or "Celeb-DF v2".

    Raises:
        ValueError: If there is none.
    """
    for benchmark in BENCHMARKS:
        if key in (benchmark.key, benchmark.group, benchmark.name):
            return benchmark
    known = [benchmark.key for benchmark in BENCHMARKS]
    near = nearest(key, [n for b in BENCHMARKS for n in (b.key, b.group, b.name)])
    raise ValueError(f"got benchmark {key!r}, expected one of {', '.join(known)}{near}")


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known names are like a wrong one.

    Args:
        name: What was asked for.
        known: Names that exist.

    Returns:
        "; did you mean A or B?", at most three, or "" if none is like it.
    """
    by_lower = {other.lower(): other for other in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(by_lower[one] for one in found)}?" if found else ""


def label_of(path: str) -> int:
    """Read the label of a frame off its path, as the official code does.

    Args:
        path: `.../<dataset>/<source>/<video>/<frame>`, separated by "/".

    Returns:
        0 if the source folder holds "real" in lower case, 1 otherwise. So `Real3DPortrait` is fake,
        and the name of a list decides nothing.

    Raises:
        ValueError: If the path has fewer than three parts.
    """
    parts = path.split("/")
    if len(parts) < 3:
        raise ValueError(f"got frame path {path!r}, expected <dataset>/<source>/<video>/<frame>")
    return 0 if "real" in parts[-3] else 1

"""Facts of the sets with several manipulations, sound, or people of one country: 2021 to 2025."""

from gendkit.benchmarks.groups import CDFV3_METHODS, DEEPSPEAK_1, DEEPSPEAK_2
from gendkit.benchmarks.schema import Card, Fact, Part

_WHOLE = (("report", ""), ("select", "my-val"), ("fit", "my-train"))
_SCENARIOS = {"FS": "FaceSwap", "FR": "FaceReenact", "TF": "TalkingFace"}


def _kit_tree(what: str) -> Fact:
    return Fact(
        f"the kit's own, since the release's tree is not documented: real/ and {what}", "kit"
    )


KODF = Card(
    key="KoDF",
    name="Korean DeepFake Detection Dataset",
    aliases=(),
    folder="KoDF",
    year=Fact("2021", "kodf-paper"),
    methods=(
        Fact("FaceSwap, DeepFaceLab, FSGAN, FOMM, ATFHP, Wav2Lip", "kodf-paper"),
        Fact("five lists: dffs, dfl, fsgan, fo, audio-driven; adversarial ones apart", "gend"),
    ),
    sources=(Fact("403 Korean people, recorded for the set", "kodf-paper"),),
    rights=(
        Fact("terms agreed to with the request", "dfwb"),
        Fact("built with public money of South Korea", "kodf"),
        Fact("unknown what the terms allow"),
    ),
    access=(Fact("a Google form; Koreans download from AI-Hub (aihub.or.kr/aidata/8005)", "kodf"),),
    size=(Fact("62,166 real and 175,776 fake videos; bytes unknown", "kodf-paper"),),
    splits=(
        Fact("no official split is used: a selection of the authors of GenD", "gend"),
        Fact("their lists are not public: withdrawn from the hub", "gend-7"),
    ),
    overlaps=(
        Fact("fakes are named target_source_code_number: both are people of the set", "dfwb"),
        Fact("recorded for the set, so no videos of other sets are expected", "kodf-paper"),
    ),
    tree=_kit_tree("one folder for each of the five lists"),
    parts=(
        Part(("real",), "real", deep=True),
        *(
            Part((name,), name, deep=True)
            for name in ("audio-driven", "dffs", "dfl", "fo", "fsgan")
        ),
    ),
    lists=_WHOLE,
    renamed=tuple(
        (name, f"fake-{name}") for name in ("audio-driven", "dffs", "dfl", "fo", "fsgan")
    ),
)

_FAVC_FOLDERS = {
    "RealVideo-RealAudio": ("real", 500),
    "FakeVideo-RealAudio": ("FakeVideo-RealAudio", None),
    "FakeVideo-FakeAudio": ("FakeVideo-FakeAudio", None),
}

FAVC = Card(
    key="FAVC",
    name="FakeAVCeleb",
    aliases=("FakeAVCeleb v1.2",),
    folder="FakeAVCeleb",
    year=Fact("2021", "twind"),
    methods=(
        Fact("Faceswap, FSGAN and Wav2Lip for pictures, SV2TTS for sound", "favc-site"),
        Fact("fake sound over a real picture (RV-FA) is left out", "gend"),
    ),
    sources=(Fact("500 videos of VoxCeleb2, one of each celebrity, from YouTube", "favc-site"),),
    rights=(
        Fact("data under the request form, code MIT", "favc"),
        Fact("unknown what the form allows"),
    ),
    access=(Fact("a Google form; the answer is a link to a download script", "favc"),),
    size=(
        Fact("500 real videos", "favc-site"),
        Fact("version 1.2: 9709 fake pictures, 10,835 fake pictures and sound", "dfwb"),
        Fact("unknown in bytes"),
    ),
    splits=(
        Fact("no official split", "dfwb"),
        Fact("the whole set is tested", "gend"),
        Fact("one of the three training sets of the paired study", "gend"),
    ),
    overlaps=(
        Fact("RV-RA-real stands in all its groups", "gend"),
        Fact("its reals are part of VoxCeleb2", "favc-site"),
        Fact("unknown whether its celebrities are those of CDFv2 or IDF"),
    ),
    tree=Fact("as others found version 1.2", "dfwb"),
    parts=tuple(
        Part((folder,), method, count, deep=True)
        for folder, (method, count) in _FAVC_FOLDERS.items()
    ),
    files=(("meta_data.csv",),),
    lists=_WHOLE,
    beside=("RealVideo-FakeAudio",),
    renamed=(("real", "RV-RA-real"),),
)

DFDM = Card(
    key="DFDM",
    name="Deepfakes from Different Models",
    aliases=(),
    folder="DFDM",
    year=Fact("2022", "twind"),
    methods=(
        Fact("Faceswap, Lightweight, IAE, Dfaker, DFL-H128: five autoencoders", "dfdm"),
        Fact("four lists are tested: dfaker, dfl, iae, lightweight; Faceswap is not", "gend"),
        Fact("6450 fakes made from the same input", "dfdm-paper"),
    ),
    sources=(Fact("made from Celeb-DF v2 videos", "dfwb"),),
    rights=(
        Fact("free for academic, non-commercial research", "dfwb"),
        Fact("the reals stand under the terms of Celeb-DF", "cdf"),
    ),
    access=(Fact("a Google form", "dfdm"), Fact("the reals come with Celeb-DF v2", "dfwb")),
    size=(Fact("82.4 GB: 53.7 (crf0), 24.4 (crf10), 4.3 (crf23)", "dfdm"),),
    splits=(
        Fact("no official split", "dfwb"),
        Fact("the whole set is tested, with all Celeb-real videos as reals", "gend"),
        Fact("unknown which compression is tested"),
    ),
    overlaps=(
        Fact("borrows the reals of Celeb-DF v2: columns CDFv2, CDFv3, DFDM share reals", "gend"),
        Fact("fakes show people of Celeb-DF v2", "dfwb"),
    ),
    tree=Fact("official: three folders DFDM_crf*, videos in subfolders", "dfdm"),
    parts=(Part(("DFDM_{c}",), "fake", 2150, r"id\d+_id\d+_\d+_\w+", deep=True),),
    compressions=("crf23", "crf10", "crf0"),
    lists=(("report", "all"),),
)

PGF = Card(
    key="PGF",
    name="PolyGlotFake",
    aliases=(),
    folder="PolyGlotFake",
    year=Fact("2024", "twind"),
    methods=(
        Fact("VideoRetalking and Wav2Lip for pictures, five voice pipelines", "pgf"),
        Fact("82 lists of fakes: pair of languages and method", "gend"),
    ),
    sources=(Fact("YouTube excerpts of about 20 seconds in seven languages", "pgf"),),
    rights=(Fact("academic institutions only, for research only", "pgf"),),
    access=(Fact("a link on the page; the page also speaks of a form", "pgf"),),
    size=(Fact("766 real and 14,472 fake videos; bytes unknown", "pgf"),),
    splits=(Fact("no official split", "dfwb"), Fact("the whole set is tested", "gend")),
    overlaps=(
        Fact("each fake is dubbed from a real of the set, named in its first part", "dfwb"),
        Fact("unknown whether speakers stand in other sets"),
    ),
    tree=_kit_tree("one folder a method"),
    parts=(
        Part(("real",), "real", 766, deep=True),
        Part(("Wav2Lip",), "Wav2Lip", deep=True),
        Part(("video_retalking",), "video_retalking", deep=True),
    ),
    lists=_WHOLE,
)

_IDF_OTHERS = (  # kinds of fakes that the paper does not test
    *("face_audiomismatch_textmismatch", "face_rvc_textmismatch"),
    *("face_tts_textgen", "lip_audiomismatch_textmismatch", "lip_rvc_textmismatch"),
    *("lip_tts_textgen", "rvc_textmismatch", "tts_textgen", "tts_textmismatch"),
)

IDF = Card(
    key="IDF",
    name="IDForge v1",
    aliases=("IDForge", "IDForge-v1"),
    folder="IDForge-v1",
    year=Fact("2024", "twind"),
    methods=(
        Fact("face swaps by InsightFace (roop), SimSwap, InfoSwap; Wav2Lip; cloned voices", "idf"),
        Fact("tested: face_tts by infoswap, roop, simswap", "gend"),
    ),
    sources=(Fact("324 videos of 54 celebrities from the internet", "idf"),),
    rights=(
        Fact("no licence statement found", "dfwb"),
        Fact("the pristine part may be used for training of generators and the like", "idf"),
    ),
    access=(
        Fact("write to idforge_access@outlook.com; the request page is being maintained", "idf"),
    ),
    size=(Fact("249,138 shots and 214,438 real shots for reference; bytes unknown", "idf"),),
    splits=(
        Fact("official lists, IDForge_v1 of the repository", "idf"),
        Fact("test is tested", "gend"),
    ),
    overlaps=(
        Fact("54 celebrities, each real and forged, with reference videos of the same", "idf"),
        Fact("unknown whether they stand in CDFv2 or FAVC"),
    ),
    tree=Fact("official: main/TYPE/idXX/idXX_YY/VIDEO.mp4", "idf"),
    parts=(
        Part(("pristine", "main/pristine"), "real", name=r"id\d+_.+", deep=True),
        Part(("face_tts", "main/face_tts"), "face_tts", name=r"id\d+_.+", deep=True),
    ),
    beside=(
        *_IDF_OTHERS,
        *(f"main/{name}" for name in _IDF_OTHERS),
        "ref",
    ),
    renamed=tuple(
        (name, f"test-{name}")
        for name in ("real", "face_tts_infoswap", "face_tts_roop", "face_tts_simswap")
    ),
)


def _deepspeak(
    key: str, name: str, engines: tuple[str, ...], page: str, access: tuple[Fact, ...] = (), **facts
) -> Card:
    return Card(
        key=key,
        name=name,
        folder=name.replace(" ", "-"),
        tree=_kit_tree("one folder an engine, named as the official lists name it"),
        parts=(
            Part(("real",), "real"),
            *(Part((engine,), engine) for engine in engines if engine != "real"),
        ),
        renamed=tuple((engine, f"test-{engine}") for engine in engines),
        lists=(("report", "test"), ("select", "my-val"), ("fit", "my-train")),
        sources=(Fact("people before their own webcams, recorded for the set", page),),
        rights=(
            Fact("free for research and non-commercial use; others may ask", "ds-paper"),
            Fact("free for qualifying academic institutions, maybe for a fee for others", page),
            Fact("work that uses it must name its authors", page),
        ),
        access=(
            Fact("complete the form on the page, then ask for access there when logged in", page),
            *access,
        ),
        splits=(
            Fact("official train and test; test is tested, val was sampled from train", "gend"),
            Fact("by person, in annotations-split-def.csv", "dfwb"),
        ),
        overlaps=(Fact("unknown whether DSv1.1 and DSv2 share people; treat them as if they did"),),
        **facts,
    )


DSV1 = _deepspeak(
    "DSv1.1",
    "DeepSpeak 1.1",
    DEEPSPEAK_1,
    "ds1.0",
    access=(Fact("version 1.1 has a page and a licence of its own", "ds1"),),
    aliases=("DSv1", "DeepSpeak v1.1", "DeepSpeak-1.1"),
    year=Fact("2024", "twind"),
    methods=(Fact("FaceFusion (three ways), video-retalking, Wav2Lip", "gend"),),
    size=(
        Fact("6667 real and 6796 fake videos", "dfwb"),
        Fact("version 1.0 has over 40 GB; 1.1 unknown", "ds1.0"),
    ),
)
DSV2 = _deepspeak(
    "DSv2",
    "DeepSpeak 2.0",
    DEEPSPEAK_2,
    "ds2",
    aliases=("DeepSpeak v2", "DeepSpeak v2.0", "DeepSpeak-2.0"),
    year=Fact("2025", "twind"),
    methods=(Fact("diff2lip, FaceFusion, HelloMeme, LatentSync, LivePortrait, MEMO", "gend"),),
    size=(Fact("over 52 hours of video; bytes unknown", "ds2"),),
)

CDFV3 = Card(
    key="CDFv3",
    name="Celeb-DF++",
    aliases=("CDFpp", "CDF++", "Celeb-DF-PP", "Celeb-DF v3", "Celeb-DF-v3"),
    folder="CDFv3",
    year=Fact("2025", "twind"),
    methods=(
        Fact("22: 8 face swaps (one is Celeb-DF itself), 7 reenactments, 7 talking faces", "cdfpp"),
    ),
    sources=(Fact("the reals of Celeb-DF v2", "cdfpp"),),
    rights=(
        Fact("Terms to Use Celeb-DF++; provided as it is", "cdfpp"),
        Fact("original videos are from the internet and not property of the authors", "cdfpp"),
    ),
    access=(Fact("the form wj.qq.com/s2/23258268/2516; a link follows approval", "cdfpp"),),
    size=(Fact("unknown"),),
    splits=(
        Fact(
            "List_of_testing_videos.txt: the 178 test reals of Celeb-DF; 200 fakes of each swap and "
            "reenactment, 300 of each talking face",
            "cdfpp",
        ),
        Fact("there is no official validation set; my-val is the GenD authors' own", "gend"),
    ),
    overlaps=(
        Fact("same reals as Celeb-DF v2, whose fakes are its method Celeb-DF", "cdfpp"),
        Fact("my-val selected the runs that are reported on its test: same domain", "gend"),
        Fact("shares reals with DFDM through Celeb-DF v2", "gend"),
    ),
    tree=Fact("official", "cdfpp"),
    parts=(
        Part(("Celeb-real",), "real", None, r"id\d+_\d{4}", origin="Celeb-real"),
        Part(("YouTube-real",), "real", None, r"\d{5}", origin="YouTube-real"),
        *(
            Part(
                (
                    f"Celeb-synthesis/{_SCENARIOS[kind]}/"
                    f"{'Celeb-DF' if name == 'Celeb-DF-v2' else name}",
                ),
                name,
                None,
                r"id\d+_.+",
            )
            for kind, names in CDFV3_METHODS.items()
            for name in names
        ),
    ),
    files=(("List_of_testing_videos.txt",),),
    lists=(("report", "test"), ("select", "my-val"), ("fit", "my-train")),
)

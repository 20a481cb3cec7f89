"""Facts of FaceForensics++ and of the sets up to 2021 that show swapped faces of one tree each."""

from gendkit.benchmarks.schema import Card, Fact, Part

_FF_FORM = Fact(
    "fill in the Google form that the page links; the answer is a download script "
    "(-d DATASET -c c23 -t videos, and -t masks)",
    "ff",
)
_FF_TERMS = Fact(
    "data under the FaceForensics Terms of Use, to be agreed to before access; the code is MIT",
    "ff-terms",
)
_FF_USE = Fact("the terms allow non-commercial research only", "dfwb")
_FF_SERVERS = Fact("users report that servers answer with error 404 at times", "ff-lost")
_FF_SPLIT = Fact(
    "train.json, val.json, test.json: lists of pairs [a, b]; both fakes a_b and b_a and both reals "
    "belong to the split: 720, 140, 140 videos",
    "ff-splits",
)
_FF_NAMES = r"\d{3}_\d{3}"
_FF_MASKS = "manipulated_sequences/{}/masks/videos"
_SPLIT_FILES = tuple(
    (f"splits/{name}.json", f"dataset/splits/{name}.json", f"{name}.json")
    for name in ("train", "val", "test")
)
_YOUTUBE = Part(
    ("original_sequences/youtube/{c}/videos",), "real", 1000, r"\d{3}", script="original"
)
_FF_SHORT = {
    "Deepfakes": "DF",
    "Face2Face": "F2F",
    "FaceSwap": "FS",
    "NeuralTextures": "NT",
}
_COMPRESSIONS = ("c23", "c40", "raw", "c0")

FF = Card(
    key="FF++",
    name="FaceForensics++",
    aliases=("FF", "FFpp", "FaceForensics"),
    folder="FF",
    year=Fact("2019", "ff-terms"),
    methods=(
        Fact("Deepfakes (DF), Face2Face (F2F), FaceSwap (FS), NeuralTextures (NT)", "ff"),
        Fact("the training set of every run of the paper; not one of the 14", "gend"),
    ),
    sources=(Fact("1000 sequences cut from 977 YouTube videos", "ff"),),
    rights=(_FF_TERMS, _FF_USE),
    access=(_FF_FORM, _FF_SERVERS),
    size=(
        Fact("compressed videos: about 10 GB (c23), 2 GB (c40), 500 GB (raw)", "ff"),
        Fact("unknown for the masks"),
    ),
    splits=(_FF_SPLIT, Fact("c23 is trained and tested on", "gend")),
    overlaps=(
        Fact("its reals are the reals of FaceShifter (FSh): one more method on them", "ff-shifter"),
        Fact("its 1000 reals stand in the columns of all its methods", "ff"),
        Fact("DeepFakeDetection (DFD) comes in the same tree, with people of its own", "ff"),
    ),
    tree=Fact("official", "ff"),
    parts=(
        _YOUTUBE,
        *(
            Part(
                (f"manipulated_sequences/{name}/{{c}}/videos",),
                short,
                1000,
                _FF_NAMES,
                masks=_FF_MASKS.format(name),
                script=name,
            )
            for name, short in _FF_SHORT.items()
        ),
    ),
    files=_SPLIT_FILES,
    compressions=_COMPRESSIONS,
    beside=(
        "original_sequences/actors",
        "manipulated_sequences/FaceShifter",
        "manipulated_sequences/DeepFakeDetection",
        "downloaded_videos",
    ),
)

FSH = Card(
    key="FSh",
    name="FaceShifter",
    aliases=(),
    folder="FSh",
    year=Fact("2020", "twind"),
    methods=(Fact("FaceShifter, made by its authors", "ff-shifter"),),
    sources=(Fact("the 1000 original videos of FaceForensics++", "ff-shifter"),),
    rights=(_FF_TERMS, _FF_USE),
    access=(_FF_FORM, Fact("-d FaceShifter and -d original", "ff-script"), _FF_SERVERS),
    size=(Fact("unknown"),),
    splits=(
        Fact("the test pairs of FaceForensics++ are tested", "gend"),
        _FF_SPLIT,
    ),
    overlaps=(
        Fact("all reals are FaceForensics++ reals, so people and scenes of training", "ff-shifter"),
    ),
    tree=Fact("official; the script has no masks for it", "ff-script"),
    parts=(
        _YOUTUBE,
        Part(
            ("manipulated_sequences/FaceShifter/{c}/videos",),
            "FaceShifter",
            1000,
            _FF_NAMES,
            script="FaceShifter",
        ),
    ),
    files=_SPLIT_FILES,
    compressions=_COMPRESSIONS,
    beside=(
        "original_sequences/actors",
        *(f"manipulated_sequences/{name}" for name in (*_FF_SHORT, "DeepFakeDetection")),
        "downloaded_videos",
    ),
    renamed=(("FaceShifter", "fake"),),
)

DFD = Card(
    key="DFD",
    name="DeepFakeDetection",
    aliases=("Google DFD",),
    folder="DFD",
    year=Fact("2019", "twind"),
    methods=(
        Fact("DeepFakes; the release does not tell methods apart", "ff"),
        Fact("others count five methods", "dfbench"),
    ),
    sources=(Fact("28 paid actors in 16 scenes, 363 videos", "ff"),),
    rights=(
        _FF_TERMS,
        Fact("non-commercial research only", "dfwb"),
        Fact("rights of the people shown are cleared", "dfbench"),
    ),
    access=(
        _FF_FORM,
        Fact("-d DeepFakeDetection and -d DeepFakeDetection_original", "ff"),
        _FF_SERVERS,
    ),
    size=(
        Fact(
            "reals and fakes: about 3 + 22 GB (c23), 0.4 + 3 GB (c40), 200 GB + 1.6 TB (raw)", "ff"
        ),
    ),
    splits=(
        Fact("no official split", "dfwb"),
        Fact("the whole set is tested", "gend"),
        Fact(
            "people: actors are dealt to the roles by seed, so that as many fakes as possible join "
            "two actors of one role; fakes across roles are left out",
            "kit",
        ),
    ),
    overlaps=(
        Fact("comes in the tree of FaceForensics++ but shows other people", "ff"),
        Fact("each real stands behind several fakes (363 for 3068)", "ff"),
    ),
    tree=Fact("official", "ff"),
    parts=(
        Part(
            ("original_sequences/actors/{c}/videos",),
            "real",
            363,
            r"\d+__.+",
            script="DeepFakeDetection_original",
        ),
        Part(
            ("manipulated_sequences/DeepFakeDetection/{c}/videos",),
            "DeepFakeDetection",
            3068,
            r"\d+_\d+__.+__[A-Za-z0-9]{8}",
            masks=_FF_MASKS.format("DeepFakeDetection"),
            script="DeepFakeDetection",
        ),
    ),
    lists=(("report", ""), ("select", "my-val"), ("fit", "my-train")),
    compressions=_COMPRESSIONS,
    beside=(
        "original_sequences/youtube",
        *(f"manipulated_sequences/{name}" for name in (*_FF_SHORT, "FaceShifter")),
        "downloaded_videos",
        "splits",
    ),
    renamed=(("DeepFakeDetection", "fake"),),
)

UADFV = Card(
    key="UADFV",
    name="UADFV",
    aliases=("UADFD",),
    folder="UADFD",
    year=Fact("2018", "cdf-paper"),
    methods=(Fact("one method of face swap", "dfbench"),),
    sources=(Fact("49 videos of 49 people; where they come from is not stated", "dfbench"),),
    rights=(
        Fact("terms to agree to in the form", "dfwb"),
        Fact("rights of the people shown are not cleared", "dfbench"),
        Fact("unknown what else the terms allow"),
    ),
    access=(Fact("a Google form, linked in the table of datasets", "dfbench"),),
    size=(Fact("49 real and 49 fake videos; bytes unknown", "cdf-paper"),),
    splits=(
        Fact("no official split", "dfwb"),
        Fact("the whole set is tested", "gend"),
    ),
    overlaps=(
        Fact("each fake NNNN_fake is made from real NNNN", "dfwb"),
        Fact("unknown whether other sets use the same videos"),
    ),
    tree=Fact("as others found the release", "dfbench"),
    parts=(
        Part(("real", "real/videos"), "real", 49),
        Part(("fake", "fake/videos"), "fake", 49, r".+_fake"),
    ),
    lists=(("report", ""), ("select", "my-val"), ("fit", "my-train")),
)

DFDC = Card(
    key="DFDC",
    name="Deepfake Detection Challenge",
    aliases=("DeepFake Detection Challenge Dataset",),
    folder="DFDC",
    year=Fact("2020", "dfdc-paper"),
    methods=(
        Fact("several Deepfake, GAN-based and non-learned methods", "dfdc-paper"),
        Fact("eight of them", "dfbench"),
    ),
    sources=(Fact("3426 paid actors", "dfdc-paper"),),
    rights=(
        Fact("everyone recorded agreed to be shown and modified", "dfdc-paper"),
        Fact("the rules must be accepted before the files are shown", "dfdc-kaggle"),
        Fact("non-commercial research only", "dfwb"),
    ),
    access=(
        Fact("ai.facebook.com/datasets/dfdc", "dfdc-paper"),
        Fact("others keep the test part as videos/ and labels.csv", "sbi"),
    ),
    size=(
        Fact("training part: just over 470 GB in 50 files", "dfdc-kaggle"),
        Fact("test part: 5000 videos, half of them fake", "dfwb"),
        Fact("unknown in bytes for the test part"),
    ),
    splits=(
        Fact("official training, validation and test parts", "dfdc-paper"),
        Fact("the test part is tested", "gend"),
    ),
    overlaps=(
        Fact("names of the test part tell no people and no pairs", "dfwb"),
        Fact("unknown whether other sets share videos"),
        Fact("DFDC preview is another release, not one of the 14", "gend"),
    ),
    tree=Fact(
        "the kit's own: sort the test videos by the label file of the release into real/ and fake/",
        "kit",
    ),
    parts=(Part(("real",), "real"), Part(("fake",), "fake")),
)

_CELEB_TERMS = (
    Fact("Terms to Use Celeb-DF; provided as it is", "cdf"),
    Fact("original videos are from the internet and not property of the authors", "cdf"),
    Fact("non-commercial research only", "dfwb"),
)

CDFV2 = Card(
    key="CDFv2",
    name="Celeb-DF v2",
    aliases=("CDF", "Celeb-DF", "CelebDF", "Celeb-DF-v2"),
    folder="CDFv2",
    year=Fact("2020", "twind"),
    methods=(Fact("one improved face swap (Celeb-synthesis)", "cdf-paper"),),
    sources=(
        Fact("590 YouTube videos of celebrities and 300 further YouTube videos", "cdf"),
        Fact("59 celebrities", "cdf-paper"),
    ),
    rights=_CELEB_TERMS,
    access=(Fact("fill in the Google or Tencent form; a link is sent after acceptance", "cdf"),),
    size=(Fact("590 + 300 real and 5639 fake videos; bytes unknown", "cdf"),),
    splits=(
        Fact("List_of_testing_videos.txt: 518 videos; there is no official validation set", "cdf"),
        Fact("178 of them are real", "cdfpp"),
        Fact("the authors' val is all that is not test: no official part, same domain", "gend"),
        Fact(
            "people: the official test stays; of the rest, nobody of the test and nobody in both "
            "fit and select; fakes across are left out",
            "kit",
        ),
    ),
    overlaps=(
        Fact(
            "its reals and fakes are part of Celeb-DF++ (CDFv3), with the same test reals", "cdfpp"
        ),
        Fact("its Celeb-real videos, test ones included, are the reals of DFDM", "gend"),
        Fact("its test reals serve the FaceFusion group", "gend"),
        Fact("unknown whether celebrities of FAVC and IDF are among its 59"),
    ),
    tree=Fact("official", "cdf"),
    parts=(
        Part(("Celeb-real", "Celeb-real/videos"), "real", 590, r"id\d+_\d{4}", origin="Celeb-real"),
        Part(("YouTube-real", "YouTube-real/videos"), "real", 300, r"\d{5}", origin="YouTube-real"),
        Part(
            ("Celeb-synthesis", "Celeb-synthesis/videos"),
            "Celeb-synthesis",
            5639,
            r"id\d+_id\d+_\d{4}",
        ),
    ),
    files=(("List_of_testing_videos.txt",),),
    lists=(("report", "test"), ("select", "val"), ("fit", "my-train")),
)

FFIW = Card(
    key="FFIW",
    name="Face Forensics in the Wild",
    aliases=("FFIW10K", "FFIW-10K"),
    folder="FFIW",
    year=Fact("2021", "twind"),
    methods=(Fact("one automatic manipulation, controlled by a quality network", "ffiw"),),
    sources=(Fact("videos with three faces a frame on average", "ffiw"),),
    rights=(
        Fact("Terms to Use, agreed to in the form", "ffiw"),
        Fact("unknown what the terms allow"),
    ),
    access=(
        Fact("a Google form; use an educational address if there is one", "ffiw"),
        Fact("users report that requests are not answered", "ffiw-4"),
        Fact("the test part is a file of its own, linked in this issue", "gend-1"),
    ),
    size=(Fact("10,000 fake videos; bytes unknown", "ffiw"),),
    splits=(
        Fact("train and val by folder; test is separate", "ffiw"),
        Fact("8000, 250, 1738 pairs", "dfwb"),
        Fact("test is tested, val selects", "gend"),
    ),
    overlaps=(
        Fact("only some faces of a frame are manipulated: a crop of another face is real", "ffiw"),
        Fact("no people are named; unknown whether other sets share them", "dfwb"),
    ),
    tree=Fact("official for train and val; test is expected beside them", "ffiw"),
    parts=tuple(
        Part(
            (f"{side}/{split}", f"{side}/{split}/videos"),
            method,
            masks=f"target_mask/{split}" if side == "target" and split != "test" else "",
        )
        for side, method in (("source", "real"), ("target", "fake"))
        for split in ("train", "val", "test")
    ),
    lists=(("report", "test-"), ("select", "val-"), ("fit", "train-")),
)

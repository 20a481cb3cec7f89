"""Small folders that look like the releases of real datasets; the videos are a few bytes."""

import json
from pathlib import Path

FF_PAIRS = {"train": [["071", "054"], ["087", "081"]], "val": [["720", "672"]]}
FF_PAIRS["test"] = [["953", "974"]]
FF_METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures")


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def faceforensics(root: Path, methods=FF_METHODS, compression="c23", masks=True) -> Path:
    """Four pairs: 8 reals, 8 fakes a method, a mask for each fake."""
    pairs = [pair for part in FF_PAIRS.values() for pair in part]
    reals = [name for pair in pairs for name in pair]
    fakes = [f"{a}_{b}" for pair in pairs for a, b in (pair, pair[::-1])]
    touch(root, *(f"original_sequences/youtube/{compression}/videos/{n}.mp4" for n in reals))
    for method in methods:
        folder = f"manipulated_sequences/{method}"
        touch(root, *(f"{folder}/{compression}/videos/{n}.mp4" for n in fakes))
        if masks:
            touch(root, *(f"{folder}/masks/videos/{n}.mp4" for n in fakes))
    (root / "splits").mkdir(parents=True, exist_ok=True)
    for name, part in FF_PAIRS.items():
        (root / f"splits/{name}.json").write_text(json.dumps(part))
    return root


DFD_SCENES = {1: "hugging_happy", 2: "walking"}


def deepfakedetection(root: Path, cliques=((1, 2, 3), (4, 5, 6)), crossing=((1, 4),)) -> Path:
    """Actors of a clique are swapped with each other, both ways; crossing pairs one way."""
    pairs = [(a, b) for clique in cliques for a in clique for b in clique if a != b]
    for actor in sorted({a for clique in cliques for a in clique}):
        for scene in DFD_SCENES.values():
            touch(root, f"original_sequences/actors/c23/videos/{actor:02d}__{scene}.mp4")
    for k, (a, b) in enumerate([*pairs, *crossing]):
        name = f"{a:02d}_{b:02d}__{DFD_SCENES[1 + k % 2]}__{k:08d}.mp4"
        touch(root, f"manipulated_sequences/DeepFakeDetection/c23/videos/{name}")
    return root


CELEB_TEST = [
    "1 Celeb-real/id0_0000.mp4",
    "1 YouTube-real/00170.mp4",
    "0 Celeb-synthesis/id0_id1_0000.mp4",
]


def celeb(root: Path) -> Path:
    """People 0 and 1 are tested; 2 and 3, and 4 and 5, are swapped with each other; 1 with 2."""
    touch(root, *(f"Celeb-real/id{k}_000{n}.mp4" for k in range(6) for n in range(2)))
    touch(root, "YouTube-real/00170.mp4", "YouTube-real/00001.mp4", "YouTube-real/00002.mp4")
    fakes = ["id0_id1_0000", "id1_id2_0001"]
    fakes += [f"id{a}_id{b}_000{n}" for a, b in ((2, 3), (3, 2), (4, 5), (5, 4)) for n in range(2)]
    touch(root, *(f"Celeb-synthesis/{name}.mp4" for name in fakes))
    (root / "List_of_testing_videos.txt").write_text("\n".join(CELEB_TEST) + "\n")
    return root


def generic(root: Path) -> Path:
    touch(root, *(f"real/{name}.mp4" for name in ("a", "b", "c_1", "d")))
    touch(root, "swap/a_b.mp4", "swap/c_1_x.mp4", "lips/d_fake.mp4", "lips/b.mp4", "lips/zz.mp4")
    return root

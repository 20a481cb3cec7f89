"""Turn clean renders into what a detector sees: filmed, processed in places, coded as video, cropped.

    gendkit nobody training --out _build/renders           clean pictures, once
    gendkit weights footage --passes 8                     samples made of them, in shards

Each pass over the renders films every picture with a new camera and makes twins of it: two versions that
differ in their processed regions (`traces.process`), then coded as H.264 at one rate and cropped at one place.
They lie in rows 2k and 2k + 1 of a shard. The encoder's recipe reads the shards while they appear.
"""

import argparse
import io
import math
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import astuple, fields
from pathlib import Path

import av
import numpy as np
import torch

from gendkit import repro
from gendkit.nobody import camera as cameras
from gendkit.pretrain import targets, traces

PLAIN = 8  # pictures without a person for each shard of 64 renders
CRF = (24.0, 4.0, 17.0, 34.0)  # mean, standard deviation, least, most
FACTS = ("identity", "expression", "pose", "light")
CAMERA = (*(f.name for f in fields(cameras.Camera)), "crf")
TEXTURES = ("brick", "grass", "gravel", "chelsea", "coffee", "coins", "hubble_deep_field", "ihc", "moon",
            "rocket", "page", "cell", "motorcycle_left")  # fmt: skip
_EXAMPLES = """examples:
  gendkit nobody training --out _build/renders     clean pictures, once
  gendkit weights footage --passes 8               a rerun goes on where this stopped
"""


def any_camera(rng: np.random.Generator) -> cameras.Camera:
    """Draw a camera between a phone and a webcam; every second one is a phone."""
    phone, webcam = cameras.draw(rng), cameras.draw(rng, "nobody-x")
    if rng.random() < 0.5:
        return phone
    shares = rng.random(len(fields(phone)))
    mixed = (1 - shares) * np.array(astuple(phone)) + shares * np.array(astuple(webcam))
    return cameras.Camera(*(float(value) for value in mixed))


def _crf(rng: np.random.Generator) -> float:
    """Draw a constant rate factor: a normal distribution, cut off at its ends (`CRF`)."""
    mean, spread, least, most = CRF
    return float(np.clip(rng.normal(mean, spread), least, most))


def code(image: np.ndarray, crf: float, rng: np.random.Generator) -> np.ndarray:
    """Code a picture as H.264 and decode it, as a key frame or as a frame predicted from another.

    Args:
        image: (H, W, 3) uint8 RGB, even sides.
        crf: Constant rate factor of libx264.
        rng: Random source.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    clip = [image]
    if rng.random() < 0.5:  # the frame before: a little elsewhere, with a little other noise
        shift = tuple(int(v) for v in rng.integers(-2, 3, 2))
        noise = rng.normal(0, rng.uniform(0.5, 4), image.shape)
        before = np.clip(np.roll(image, shift, (0, 1)) + noise, 0, 255).astype(np.uint8)
        clip = [before, image]
    buffer = io.BytesIO()
    options = {"preset": "medium", "crf": f"{crf:.1f}", "bf": "0"}
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt, stream.codec_context.thread_count = "yuv420p", 1
        for frame in clip:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    buffer.seek(0)
    with av.open(buffer) as container:
        *_, last = container.decode(video=0)
    return last.to_ndarray(format="rgb24")


def plain_pictures() -> list[np.ndarray]:
    """Load the pictures without a person that ship inside scikit-image; none where it is missing."""
    try:
        import skimage.data
        import skimage.io
    except ImportError:
        return []
    folder = Path(skimage.data.__file__).parent
    found = [
        p for name in TEXTURES for p in folder.glob(f"{name}.*") if p.suffix in (".png", ".jpg")
    ]
    pictures = []
    for path in found:
        picture = skimage.io.imread(path)
        picture = picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=-1)
        pictures.append(np.ascontiguousarray(picture[..., :3].astype(np.uint8)))
    return [p for p in pictures if min(p.shape[:2]) >= targets.FRAME]


def _scenes(renders: dict, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, int]]:
    """Give clean pictures with their row in the renders; -1 for a picture without a person."""
    plain = plain_pictures()
    for row, image in enumerate(renders["images"]):
        yield image, row
    for _ in range(PLAIN if plain else 0):
        picture = plain[int(rng.integers(len(plain)))]
        top, left = (int(rng.integers(0, s - targets.FRAME + 1)) for s in picture.shape[:2])
        yield picture[top : top + targets.FRAME, left : left + targets.FRAME], -1


def make_shard(source: Path, target: Path, seed: Sequence[int]) -> int:
    """Make the samples of one shard of renders.

    Args:
        source: `shard-*.npz` with images (n, 256, 256, 3) uint8, landmarks (n, 68, 2), identity_id
            (n,) and the numbers behind each picture: identity, expression, pose, light.
        target: Written whole or not at all. Twins lie in rows 2k and 2k + 1: images (m, S, S, 3)
            uint8, maps and texture (m, patches, .) float16, landmarks (m, 136), camera (m, .) with
            the CRF last, identity_id (m,), -1 without a person, and the numbers behind each picture,
            NaN without a person.
        seed: Of all randomness.

    Returns:
        Number of samples m, two for each picture.
    """
    with np.load(source, allow_pickle=False) as data:
        renders = {name: data[name] for name in data.files}
    rng = np.random.default_rng(list(seed))
    rows: dict[str, list] = {name: [] for name in ("images", "maps", "landmarks", "camera", "row")}
    for image, row in _scenes(renders, rng):
        device = any_camera(rng)
        filmed = cameras.film(image[None], device, rng)[0]
        points = renders["landmarks"][row].astype(np.float64) if row >= 0 else None
        crf, same = _crf(rng), int(rng.integers(2**31))
        for twin in traces.process(filmed, rng):
            chance = np.random.default_rng(same)  # both twins are coded and cropped alike
            coded = code(twin.image, crf, chance)
            cut = targets.crop(coded, twin.maps, points, chance)
            rows["images"].append(cut.image)
            rows["maps"].append(cut.maps)
            rows["landmarks"].append(cut.landmarks.ravel())
            rows["camera"].append([*astuple(device), crf])
            rows["row"].append(row)
    table = {name: np.asarray(values) for name, values in rows.items()}
    row = table.pop("row")
    pictures = torch.from_numpy(table["images"]).permute(0, 3, 1, 2) / 255
    table["texture"] = targets.texture(pictures).numpy().astype(np.float16)
    table["maps"] = table["maps"].astype(np.float16)
    table["identity_id"] = np.where(row >= 0, renders["identity_id"][row], -1)
    for name in FACTS:
        values = renders[name].reshape(len(renders["images"]), -1)[row].astype(np.float32)
        values[row < 0] = np.nan
        table[name] = values
    table["camera"] = table["camera"].astype(np.float32)
    with repro.atomic_path(target) as temporary, open(temporary, "wb") as file:
        np.savez(file, **table)
    return len(row)


def _try_shard(source: Path, target: Path, seed: Sequence[int]) -> int:
    torch.set_num_threads(1)
    try:
        return make_shard(source, target, seed)
    except (zipfile.BadZipFile, EOFError):
        return 0  # still being written; a later pass or rerun takes it


def _missing(
    renders: Path, out: Path, turn: int, seed: int
) -> list[tuple[Path, Path, tuple[int, int, int]]]:
    """Give source, target and seed of each shard of one pass that is not there yet."""
    found = []
    for source in sorted(renders.glob("shard-*.npz")):
        number = int(source.stem.split("-")[1])
        target = out / f"footage-{turn:02d}-{number:05d}.npz"
        if not target.exists():
            found.append((source, target, (seed, turn, number)))
    return found


def run(
    renders: Path,
    out: Path,
    passes: int = 8,
    seed: int = 0,
    workers: int = 1,
    minutes: float = math.inf,
) -> int:
    """Make all samples; shards that exist are kept, renders that appear meanwhile are taken up.

    Args:
        renders: Folder of `shard-*.npz`.
        out: Folder for `footage-PASS-SHARD.npz`.
        passes: How often each render is filmed.
        seed: Of all randomness.
        workers: Processes.
        minutes: No shard is begun after so many; the same call later goes on.

    Returns:
        Number of samples made now.

    Raises:
        FileNotFoundError: If there is no render.
        ValueError: If passes or workers is not positive.
    """
    for name, value in (("passes", passes), ("workers", workers)):
        if value < 1:
            raise ValueError(f"--{name} is {value}, expected at least 1")
    if not any(renders.glob("shard-*.npz")):
        raise FileNotFoundError(
            f"No shard-*.npz in {renders}; make them with: gendkit nobody training --out {renders}"
        )
    if not plain_pictures():
        print("scikit-image is missing: no pictures without a person will be made", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    made, shards, start = 0, 0, time.monotonic()
    with ProcessPoolExecutor(workers) as pool:
        for turn in range(passes):
            jobs = [pool.submit(_try_shard, *parts) for parts in _missing(renders, out, turn, seed)]
            later = sum(len(_missing(renders, out, t, seed)) for t in range(turn + 1, passes))
            for done, job in enumerate(as_completed(jobs), 1):
                made, shards, spent = made + job.result(), shards + 1, time.monotonic() - start
                left = spent / shards * (len(jobs) - done + later)
                print(
                    f"pass {turn + 1}/{passes}, shard {done}/{len(jobs)}: {made} samples, "
                    f"{made / spent:.0f}/s, about {left / 60:.0f} min left",
                    flush=True,
                )
                if spent > 60 * minutes:
                    pool.shutdown(cancel_futures=True)
                    print(f"{minutes:g} min are over; the same command goes on", flush=True)
                    return made
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        prog="gendkit weights footage",
        description=__doc__.splitlines()[0],
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--renders", type=Path, default=Path("_build/renders"), help="folder of clean pictures"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("_build/footage"), help="folder of the shards"
    )
    parser.add_argument("--passes", type=int, default=8, help="how often each picture is filmed")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="begin no shard later (default: no limit)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    options = vars(parser.parse_args(argv))
    run(options.pop("renders"), options.pop("out"), **options)
    return 0


if __name__ == "__main__":
    sys.exit(main())

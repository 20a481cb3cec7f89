"""Scores of other code in, and out again: GenD's `test_predictions.csv`, DeepfakeBench's pickles.

A pickle can run any code when it is loaded. `read_pickle` cannot: it knows numbers, text, lists,
dicts and numpy arrays, builds the arrays itself, and refuses all else by name.
"""

import io
import pickle
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from gendkit import evaluate, repro
from gendkit.manifest import KEY

FORMATS = ("kit", "official", "deepfakebench")
_ARRAYS = {
    (module, name)
    for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    for name in ("_reconstruct", "scalar")
} | {
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    ("__builtin__", "bytes"),
}
_COMPRESSIONS = ("raw", "c0", "c23", "c40")
_FILLERS = ("frames", "manipulated_sequences", "original_sequences", *_COMPRESSIONS)


def read(path: str | Path, form: str = "kit", data: str | Path | None = None) -> pd.DataFrame:
    """Read scores in any format that the kit knows.

    Args:
        path: The file.
        form: "kit" (`evaluate.read_scores`), "official" (`read_predictions`) or "deepfakebench"
            (`read_deepfakebench`).
        data: For "deepfakebench": the pickle with the file names.

    Returns:
        Scores table.

    Raises:
        ValueError: If the format is unknown; else as the reader.
        FileNotFoundError: If a file is missing.
    """
    if form not in FORMATS:
        raise ValueError(f"got format {form!r}, expected one of {', '.join(FORMATS)}")
    if form == "deepfakebench":
        if data is None:
            folder = Path(path).parent
            found = sorted(folder.glob("data_dict_*.pickle"))
            if len(found) != 1:
                raise FileNotFoundError(
                    f"the file names of {path} are in a data_dict_*.pickle, of which {folder} has "
                    f"{len(found)}; name it (data=)"
                )
            data = found[0]
        return read_deepfakebench(path, data)
    return evaluate.read_scores(path) if form == "kit" else read_predictions(path)


def source_of(video: str) -> str:
    """Name the person or source video behind a video, as far as its name tells.

    Args:
        video: Name of a video in a public benchmark.

    Returns:
        FaceForensics++ ("000_003" is made from real 000): "000". Celeb-DF ("id0_id1_0003" shows
        id0): "id0". Any other name: the name itself, so that each video is a source of its own.
    """
    if match := re.fullmatch(r"(\d{3})(_\d{3})?", video):
        return match[1]
    if match := re.fullmatch(r"(id\d+)(_id\d+)?_\d+", video):
        return match[1]
    return video


def table_of(files: Sequence[str], labels: Iterable[Any], p_fake: Iterable[float]) -> pd.DataFrame:
    """Make a scores table from paths that end in dataset/source/video/frame.

    Labels are taken as given, never read from a path. A real source that is not called "real" goes
    into the video_id, as "YouTube-real/00170", because a set may have several.

    Args:
        files: (N,) paths, with "/" or a backslash.
        labels: (N,) 0 real, 1 fake.
        p_fake: (N,) P(fake) in [0, 1].

    Returns:
        Scores table with the role "report" and the column path, in the order of the files.
        Two folders whose last three names agree get longer dataset names.

    Raises:
        ValueError: If a path has fewer than four parts (dataset, source, video, frame), or the
            table is not valid.
    """
    parts = [PurePosixPath(str(file).replace("\\", "/")).parts for file in files]
    rows = [_split(file, part) for file, part in zip(files, parts, strict=True)]
    table = pd.DataFrame(rows, columns=["above", "compression", "method", "video_id", "stem"])
    table["folder"] = ["/".join(part[:-1]) for part in parts]
    table["dataset"] = _datasets(table)
    table["label"], table["p_fake"] = list(labels), np.asarray(list(p_fake), dtype=float)
    table["path"], table["role"] = [str(file) for file in files], "report"
    table["source_id"] = [source_of(video) for video in table["video_id"]]
    real = table["label"] == 0
    named = real & (table["method"] != "real")
    table.loc[named, "video_id"] = table["method"] + "/" + table["video_id"]
    table.loc[real, "method"] = "real"
    table["frame"] = _frames(table)
    return evaluate.check_scores(table[[*evaluate.COLUMNS, "path"]], "the converted table")


def _split(file: str, parts: tuple[str, ...]) -> tuple[tuple[str, ...], str, str, str, str]:
    """Split a path into the folders above, compression, source, video and the frame's stem."""
    above = [part for part in parts[:-2] if part not in _FILLERS and part not in ("/", ".")]
    if len(above) < 2:
        raise ValueError(
            f"got file {str(file)!r}, expected a path that ends in dataset/source/video/frame.png"
        )
    compression = next((part for part in reversed(parts[:-2]) if part in _COMPRESSIONS), "")
    return tuple(above[:-1]), compression, above[-1], parts[-2], PurePosixPath(parts[-1]).stem


def _datasets(table: pd.DataFrame) -> list[str]:
    depth = dict.fromkeys(table["above"], 1)
    while True:
        names = {above: "-".join(above[-n:]) for above, n in depth.items()}
        dataset = table["above"].map(names)
        key = [dataset, table["method"], table["compression"], table["video_id"]]
        clash = table["folder"].groupby(key).transform("nunique") > 1
        longer = {a for a in table["above"][clash] if depth[a] < len(a)}
        if not longer:
            return list(dataset)
        depth.update({above: depth[above] + 1 for above in longer})


def _frames(table: pd.DataFrame) -> np.ndarray:
    """Number of each frame: the digits of its name where they tell frames apart, else its rank."""
    digits = table["stem"].str.extract(r"^\D*(\d{1,9})\D*$")[0]
    numbers = pd.to_numeric(digits)
    key = [table[name] for name in KEY]
    alone = numbers.groupby(key).transform("nunique") == table.groupby(key)["stem"].transform(
        "size"
    )
    rank = table.groupby(key)["stem"].rank(method="dense") - 1
    return numbers.where(alone, rank).astype("int64").to_numpy()


def borrow_reals(scores: pd.DataFrame, dataset: str, source: str) -> pd.DataFrame:
    """Give a set that has only fakes the reals of another, as several official test groups do.

    Args:
        scores: Scores table.
        dataset: The set that needs reals, as "DFDM".
        source: Where they come from: a dataset, or a part of its reals, as "CDFv2/Celeb-real".

    Returns:
        The table with copies of these reals, named `dataset`. A number over all sets counts them
        twice.

    Raises:
        ValueError: If there is no such set, or no such reals.

    Source: github.com/yermandy/GenD at e03532d, src/utils/files.py (DFDM and FaceFusion groups).
    """
    scores = evaluate.check_scores(scores)
    fakes = scores[(scores["dataset"] == dataset) & (scores["label"] == 1)]
    donor, _, part = source.partition("/")
    reals = scores[(scores["dataset"] == donor) & (scores["label"] == 0)]
    reals = reals[reals["video_id"].str.startswith(f"{part}/")] if part else reals
    if fakes.empty or reals.empty:
        raise ValueError(
            f"got dataset={dataset!r} with {len(fakes)} fakes and source={source!r} with "
            f"{len(reals)} reals; datasets here: {', '.join(sorted(set(scores['dataset'])))}"
        )
    copies = [
        reals.assign(dataset=dataset, compression=compression)
        for compression in sorted(set(fakes["compression"]))
    ]
    return evaluate.check_scores(pd.concat([scores, *copies], ignore_index=True))


def read_predictions(path: str | Path) -> pd.DataFrame:
    """Read the `test_predictions.csv` of the official GenD code.

    Args:
        path: CSV with files, labels, prob_class_0, prob_class_1 and, for runs with several fake
            classes, more: then P(fake) is the highest of them, as in the official code. Its scores
            have four decimals, so frames tie and metrics move in the fourth decimal.

    Returns:
        Scores table (`table_of`).

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is not such a table; names the column or the line.

    Source: github.com/yermandy/GenD at e03532d (format and class order).
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; expected the test_predictions.csv of a run")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a CSV table in UTF-8 ({error})") from error
    wanted = ["files", "labels", "prob_class_0", "prob_class_1"]
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        raise ValueError(f"{path} lacks the columns {missing}; expected {wanted}")
    if table.empty:
        raise ValueError(f"{path} has no rows")
    names = [name for name in table.columns if re.fullmatch(r"prob_class_\d+", name)]
    numbers = table[names].apply(pd.to_numeric, errors="coerce")
    bad = np.flatnonzero(~((numbers >= 0) & (numbers <= 1)).all(axis=1))
    if bad.size:
        row = table.loc[bad[0], names].tolist()
        raise ValueError(f"{path}, line {bad[0] + 2}: got {row}, expected probabilities in [0, 1]")
    bad = np.flatnonzero(~table["labels"].isin(["0", "1"]))
    if bad.size:
        label = table.loc[bad[0], "labels"]
        raise ValueError(f"{path}, line {bad[0] + 2}: label {label!r}, expected 0 real or 1 fake")
    fakes = numbers[[name for name in names if name != "prob_class_0"]]
    return table_of(table["files"].tolist(), table["labels"].astype(int), fakes.max(axis=1))


def write_predictions(scores: pd.DataFrame, path: str | Path, decimals: int | None = 4) -> None:
    """Write a scores table as the official code's `test_predictions.csv`.

    Args:
        scores: Scores table. Its column path, where there is one, becomes the column files; else
            compression/dataset/method/video_id/frame.png does.
        path: CSV file.
        decimals: 4 as the official code; None keeps all.

    Raises:
        ValueError: If the table is not valid.

    Source: github.com/yermandy/GenD at e03532d (format).
    """
    scores = evaluate.check_scores(scores)
    files = (
        scores["path"] if "path" in scores else [_file(row) for row in scores.to_dict("records")]
    )
    p_fake = scores["p_fake"].to_numpy(float)
    columns = {"prob_class_0": 1 - p_fake, "prob_class_1": p_fake}
    table = pd.DataFrame({"files": list(files), "labels": scores["label"].to_numpy(), **columns})
    style = None if decimals is None else f"%.{decimals}f"
    with repro.atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, float_format=style)


def _file(row: dict[str, Any]) -> str:
    method, video = row["method"], str(row["video_id"])
    if row["label"] == 0 and "/" in video:  # as `table_of` names it
        method, video = video.rsplit("/", 1)
    parts = [row["compression"], row["dataset"], method, video]
    return "/".join([*(part for part in parts if part), f"{int(row.get('frame', 0)):05d}.png"])


def read_deepfakebench(path: str | Path, data: str | Path) -> pd.DataFrame:
    """Read what a DeepfakeBench test left, without running anything in it.

    Args:
        path: Its `metric_dict_best.pickle`: pred (N,) scores and label (N,).
        data: Its `data_dict_test.pickle`: image, N paths in the same order.

    Returns:
        Scores table (`table_of`). DeepfakeBench itself counts equal video names of several methods
        as one video; here they stay apart, so its video AUROC differs.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file holds anything but plain data (names it), or the two do not fit.

    Source: github.com/SCLBD/DeepfakeBench (training/trainer/trainer.py, training/metrics/utils.py).
    """
    found, names = read_pickle(path), read_pickle(data)
    for file, content, keys in ((path, found, ("pred", "label")), (data, names, ("image",))):
        missing = [k for k in keys if not isinstance(content, dict) or k not in content]
        if missing:
            raise ValueError(
                f"{file} lacks {missing}; expected a dict with {list(keys)}, as DeepfakeBench "
                "saves it (metric_dict_best.pickle and data_dict_test.pickle)"
            )
    p_fake, labels = (np.asarray(found[key]).reshape(-1) for key in ("pred", "label"))
    images = names["image"]
    if images and isinstance(images[0], list):
        raise ValueError(f"{data} lists clips, not frames; scores of video models have no frames")
    if not len(p_fake) == len(labels) == len(images):
        raise ValueError(
            f"{path} has {len(p_fake)} scores and {len(labels)} labels, {data} {len(images)} "
            "files; take both from the same test"
        )
    # labels above 0 number the methods; each is fake
    return table_of(images, (labels != 0).astype(int), p_fake)


def read_pickle(path: str | Path) -> Any:
    """Load a pickle that holds plain data only; nothing in it is ever called.

    Args:
        path: The file.

    Returns:
        Dicts, lists, tuples, text, bytes, numbers, bools, None and numpy arrays of these.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it asks for anything else (the message names it) or is damaged.

    Source: own; the principle is that of "Restricting Globals" in the manual of pickle.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; expected a pickle")
    try:
        return _plain(_Unpickler(io.BytesIO(path.read_bytes())).load(), {})
    except _RefusedError as error:
        raise ValueError(
            f"{path} asks for {error}, which was refused: only dicts, lists, text, numbers and "
            "numpy arrays of these are read. If the file is yours, save it again as CSV"
        ) from error
    except Exception as error:  # a damaged pickle can raise almost anything
        raise ValueError(f"{path} cannot be read as a pickle ({error}); save it again") from error


class _RefusedError(Exception):
    """A pickle asks for something that is not plain data."""


class _Unpickler(pickle.Unpickler):
    """Give stand-ins for numpy's constructors, new ones for each file, and refuse all else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ARRAYS:
            raise _RefusedError(f"{module}.{name}")
        return _stand_in(name)

    def persistent_load(self, pid: Any) -> Any:
        kind = pid[0] if isinstance(pid, tuple) and pid else "object"
        raise _RefusedError(f"a {kind} outside the file (a torch file?)")


class _Array:
    """What a pickle says about an array, before it is believed."""

    def __init__(self, state: tuple | None = None) -> None:
        self.state = state

    def __setstate__(self, state: tuple) -> None:
        self.state = state

    def value(self) -> Any:
        """Build the array, or the number where the shape is None."""
        if self.state is None or len(self.state) != 5:
            raise _RefusedError("an array without its data")
        _, shape, kind, fortran, raw = self.state
        if not isinstance(kind, _Kind) or not isinstance(raw, bytes | bytearray | str):
            raise _RefusedError("an array of objects")
        raw = raw.encode("latin-1") if isinstance(raw, str) else raw
        array = np.frombuffer(raw, kind.value())
        if shape is None:
            return array[0].item()
        return array.reshape(shape, order="F" if fortran else "C").copy()


class _Kind:
    """What a pickle says about the type of an array."""

    def __init__(self, name: Any) -> None:
        self.name, self.order = str(name), "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1] if state[1] in ("<", ">") else "="

    def value(self) -> np.dtype:
        if not re.fullmatch(r"[<>=|]?([biuf]\d{1,2}|U\d{1,6}|S\d{1,6}|b|\?)", self.name):
            raise _RefusedError(f"an array of type {self.name[:40]!r}")
        return np.dtype(self.name).newbyteorder(self.order)


def _stand_in(name: str) -> Any:
    def encode(text: str, encoding: str = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise _RefusedError("_codecs.encode with another encoding")
        return text.encode("latin-1")

    def make(*arguments: Any) -> Any:
        if name == "dtype":
            return _Kind(arguments[0])
        if name == "bytes" and not arguments:  # how old protocols write no bytes
            return b""
        if name == "scalar":
            kind, raw = arguments
            return _Array((1, None, kind, False, raw))
        if name == "_reconstruct":
            return _Array()
        if name == "_frombuffer":  # how numpy writes arrays from protocol 5 on
            raw, kind, shape, order = arguments[:4]
            return _Array((1, shape, kind, order == "F", raw))
        raise _RefusedError(f"a call of {name}")

    return encode if name == "encode" else make


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """Replace the stand-ins; each object once, so that shared and nested ones stay cheap."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if id(value) in done:
        if done[id(value)] is done:
            raise _RefusedError("a list that holds itself")
        return done[id(value)][1]
    done[id(value)] = done
    if isinstance(value, _Array):
        out = value.value()
    elif isinstance(value, dict):
        out = {_plain(key, done): _plain(item, done) for key, item in value.items()}
    elif isinstance(value, list | tuple):
        out = type(value)(_plain(item, done) for item in value)
    else:
        raise _RefusedError(f"a {type(value).__name__}")
    done[id(value)] = (value, out)  # the value too, so that its id stays its own
    return out

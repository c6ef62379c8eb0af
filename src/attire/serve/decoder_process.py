"""A photo to pixels, and a process that does nothing else: `python -m attire.serve.decoder_process`.

The process answers on its standard output what comes on its standard input, and ends with it. It imports little, so
that it starts fast and weighs little.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import sys
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from attire.errors import PhotoError
from attire.photos.image import open_photo
from attire.pixels.preprocess import Preprocess

VIEW_PX = 2048  # the longer side of a photo that people look at
NICENESS = 10  # large photos wait for the engine and for small ones
TASK = struct.Struct("<II")  # lengths of the task and of the photo, which follow
ANSWER = struct.Struct("<?II")  # whether pixels follow, and their height and width; else a reason, and its length


def decode(content: bytes, preprocess: Preprocess | None) -> NDArray[np.uint8]:
    """uint8[3, H, W] as a network sees it, or without `preprocess` uint8[h, w, 3] as people do; raises `PhotoError`."""
    if preprocess is not None:
        return preprocess.resize(open_photo(content, target_px=preprocess.size_px))
    photo = open_photo(content, target_px=(VIEW_PX, VIEW_PX))
    photo.thumbnail((VIEW_PX, VIEW_PX), Image.Resampling.BICUBIC)
    return np.asarray(photo)


def ask(
    questions: IO[bytes], answers: IO[bytes], content: bytes, preprocess: Preprocess | None, cpu_s: float
) -> NDArray[np.uint8]:
    """`decode` by a process with these ends, within so many seconds of its time; raises `EOFError` where it ended."""
    task = json.dumps({"cpu_s": cpu_s, "preprocess": None if preprocess is None else preprocess.model_dump()}).encode()
    questions.write(TASK.pack(len(task), len(content)))
    questions.write(task)
    questions.write(content)
    questions.flush()
    decoded, height, width = ANSWER.unpack(_exactly(answers, ANSWER.size))
    if not decoded:
        raise PhotoError(_exactly(answers, height).decode())
    pixels = np.frombuffer(_exactly(answers, 3 * height * width), np.uint8)
    return pixels.reshape((height, width, 3) if preprocess is None else (3, height, width))


def answer(questions: IO[bytes], answers: IO[bytes]) -> None:
    """Answer what `ask` asks, until nobody is there to ask."""
    while head := questions.read(TASK.size):
        task_size, photo_size = TASK.unpack(head)
        task, content = json.loads(questions.read(task_size)), questions.read(photo_size)
        _limit(task["cpu_s"])
        try:
            preprocess = task["preprocess"] and Preprocess.model_validate(task["preprocess"])
            pixels = decode(content, preprocess)
        except PhotoError as error:
            reason = str(error).encode()
            answers.write(ANSWER.pack(False, len(reason), 0) + reason)
        else:
            height, width = pixels.shape[:2] if preprocess is None else pixels.shape[1:]
            answers.write(ANSWER.pack(True, height, width) + pixels.tobytes())
        answers.flush()


def _exactly(stream: IO[bytes], size: int) -> bytes:
    found = stream.read(size)
    if len(found) < size:
        raise EOFError
    return found


def _limit(cpu_s: float) -> None:
    """Let the system end this process when it has computed for so long from now."""
    with contextlib.suppress(ImportError):  # Windows
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF)
        until = int(used.ru_utime + used.ru_stime + cpu_s) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (until, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def main() -> None:
    """Serve the standard streams, of which nobody else shall write to the output."""
    with contextlib.suppress(AttributeError, OSError):  # Windows
        os.nice(NICENESS)
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        answer(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()

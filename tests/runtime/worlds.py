"""A secure world in a thread of the test, behind a real socket: no process to start for each model."""

import threading
from contextlib import contextmanager
from pathlib import Path

from solid_utils.runtime.client import SemiOpenForCausalLM
from solid_utils.runtime.serve import Server, listening
from tests.runtime.split_model import KEY


@contextmanager
def served(halves: Path, key: bytes = KEY, place: str = ""):
    """The socket's place, the server, and the lines that it says."""
    lines = []
    server, place = Server(halves / "open", halves / "sealed", key, lines.append), place or f"@solid-test-{halves}"
    listener = listening(place)
    threading.Thread(target=server.serve, args=(listener,), daemon=True).start()
    try:
        yield place, server, lines
    finally:
        listener.shutdown(2)
        listener.close()


@contextmanager
def client(halves: Path, **options):
    """A customer's model."""
    with served(halves) as (place, _, _):
        model = SemiOpenForCausalLM.from_pretrained(halves / "open", socket=place, **options)
        try:
            yield model
        finally:
            model.secure.close()

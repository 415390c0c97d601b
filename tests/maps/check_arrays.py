"""Reads an archive of attention maps with numpy: check_arrays.py FOLDER. Exits 1 on a difference."""
import json
import pathlib
import sys

import numpy

folder = pathlib.Path(sys.argv[1])
index = json.loads((folder / "maps.json").read_text())
entries = index["maps"] + index["learned"]
assert entries, "no arrays"
for entry in entries:
    array = numpy.load(folder / entry["file"])
    assert array.dtype == numpy.float32 and list(array.shape) == entry["shape"], entry
    assert [array.min(), array.max()] == [numpy.float32(x) for x in entry["range"]], entry
    if entry["stage"] == "softmax":
        assert numpy.allclose(array.sum(-1), 1, atol=1e-5), entry

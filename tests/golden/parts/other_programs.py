"""Files as other programs write them.

safetensors from_python.safetensors: written by the safetensors package itself, see check_safetensors.py.

checkpoints checkpoints/*.pt and checkpoints/expected.json
    plain.pt      OrderedDict: contiguous, transposed, sharing, empty and scalar tensors of several types
    parameter.pt  a dict whose values are nn.Parameter
    nested.pt     {"state_dict": {...}, "epoch": 3, "name": "x", ...}
    beside_pP.pt  pickle protocol P: {"state_dict": {...}} with attributes, beside everything that
                  torch.load(weights_only=True) lets through and some that it refuses (a NumPy scalar, a Namespace)
    legacy.pt     the format before zip files: to be refused
    evil.pt       a pickle that calls os.system, evil_eval.pt one that calls builtins.eval: to be refused; either would
                  only create an empty file nepenthe_evil in the temporary folder
    expected.json {file: {tensor name: {"dtype", "shape", "values" (row major)}}}
"""

import argparse
import io
import pickle
import zipfile
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from check_safetensors import write_sample
from parts.files import save_json


def safetensors_file(out):
    write_sample(out / "from_python.safetensors")


def evil_archive(path, module, function, argument):
    """A zip laid out as torch.save does, whose pickle calls module.function(argument) inside an ordinary dict."""
    program = io.BytesIO()
    program.write(pickle.PROTO + b"\x02" + pickle.EMPTY_DICT + pickle.MARK)
    text = b"conv1.weight"
    program.write(pickle.BINUNICODE + len(text).to_bytes(4, "little") + text)
    program.write(pickle.GLOBAL + f"{module}\n{function}\n".encode())
    text = argument.encode()
    program.write(pickle.BINUNICODE + len(text).to_bytes(4, "little") + text)
    program.write(pickle.TUPLE1 + pickle.REDUCE + pickle.SETITEMS + pickle.STOP)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in (("archive/data.pkl", program.getvalue()), ("archive/version", b"3\n")):
            archive.writestr(zipfile.ZipInfo(name), content)


def with_attribute(tensor):
    tensor.note = "kept in the pickle"
    return tensor


def checkpoints(out):
    folder = out / "checkpoints"
    folder.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(4)

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    shared = random(10)
    plain = OrderedDict([
        ("conv1.weight", random(4, 3, 3, 3)),
        ("bn1.weight", random(4)),
        ("bn1.num_batches_tracked", torch.tensor(1234567890123)),
        ("transposed", random(3, 5).t()),
        ("strided", random(6, 8)[1::2, 2::3]),
        ("shared.all", shared),
        ("shared.part", shared[3:7]),
        ("half", random(2, 3).half()),
        ("bfloat16", random(2, 3).bfloat16()),
        ("double", random(2, 3).double() / 3),
        ("scalar", torch.tensor(0.1)),
        ("empty", torch.empty(0, 3)),
    ])
    parameter = {"weight": nn.Parameter(random(2, 3)), "frozen": nn.Parameter(random(2), requires_grad=False)}
    nested = {"fc.weight": random(3, 2), "fc.bias": random(3)}
    extras = {"epoch": 3, "name": "x", "best": 0.5, "history": [1, -2, 2**40], "flags": (True, False, None)}
    torch.save(plain, folder / "plain.pt")
    torch.save(parameter, folder / "parameter.pt")
    torch.save({"state_dict": nested, **extras}, folder / "nested.pt")
    attributed = OrderedDict(nested)
    attributed._metadata = OrderedDict([("fc", {"version": 1})])
    beside = {"set": {1, 2}, "frozen": frozenset((3,)), "size": torch.Size((2, 3)), "dtype": torch.float16,
              "device": torch.device("cpu"), "bytes": b"\x00\xff", "array": bytearray(b"ab"), "big": -(2**70),
              "huge": 2**3000, "complex": 1 + 2j, "counter": Counter("aab"), "default": defaultdict(list, a=[1]),
              "parameter": with_attribute(nn.Parameter(random(2))), "tensor": with_attribute(random(2)),
              "complex_tensor": torch.zeros(2, dtype=torch.complex64), "sparse": torch.eye(2).to_sparse(),
              "scalar": np.float64(0.5), "numpy": np.arange(3), "args": argparse.Namespace(lr=0.1),
              "path": Path("a/b"), "optimizer": torch.optim.SGD([nn.Parameter(random(2))], 0.1).state_dict()}
    for protocol in range(2, 6):
        torch.save({"before": beside, "state_dict": attributed, "after": beside, **beside},
                   folder / f"beside_p{protocol}.pt", pickle_protocol=protocol)
    torch.save({"weight": random(2)}, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    evil_archive(folder / "evil.pt", "os", "system", "touch /tmp/nepenthe_evil")
    evil_archive(folder / "evil_eval.pt", "builtins", "eval", "open('/tmp/nepenthe_evil', 'w').close()")

    def expected(tensors):
        return {name: {"dtype": str(t.dtype).removeprefix("torch."), "shape": list(t.shape),
                       "values": t.detach().to(torch.int64 if t.dtype == torch.int64 else torch.float64)
                                  .flatten().tolist()} for name, t in tensors.items()}

    save_json(folder / "expected.json", {"plain.pt": expected(plain), "parameter.pt": expected(parameter),
                                         "nested.pt": expected(nested),
                                         **{f"beside_p{protocol}.pt": expected(nested) for protocol in range(2, 6)}})

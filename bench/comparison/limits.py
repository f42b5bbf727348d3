"""What a step of a network has to do at least, in operations and in bytes, and how long that takes a machine at best.

An operation is an addition or a multiplication; convolutions are counted as they are defined ("direct"). Bytes are
those of operands that are read and written once each, whatever the caches hold.
"""

from dataclasses import dataclass

ELEMENT_BYTES = {"fp32": 4, "tf32": 4, "bf16": 2}
CIFAR_BLOCKS = {"resnet20": 3, "resnet32": 5, "resnet44": 7, "resnet56": 9}
IMAGENET_BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
IMAGE_SIZES = (32, 64, 96, 128, 224)
MODELS = (*CIFAR_BLOCKS, *IMAGENET_BLOCKS)
PICTURE_BYTES = 3 * 32 * 32  # of a record of CIFAR, which the step's input is made of


@dataclass(frozen=True)
class Conv:
    """A square convolution, padded by half its kernel, and its batch normalisation; elements are those of a picture."""

    inputs: int
    outputs: int
    kernel: int
    stride: int
    side: int  # of the input
    adds: bool = False  # its normalisation adds a block's shortcut

    @property
    def out_side(self):
        return (self.side + 2 * (self.kernel // 2) - self.kernel) // self.stride + 1

    @property
    def read(self):
        return self.inputs * self.side**2

    @property
    def written(self):
        return self.outputs * self.out_side**2

    @property
    def weights(self):
        return self.outputs * self.inputs * self.kernel**2

    @property
    def multiply_adds(self):
        return self.weights * self.out_side**2


@dataclass(frozen=True)
class Network:
    image_size: int
    convs: tuple  # the stem first
    pool: tuple | None  # elements that max pooling reads and writes
    last: int  # elements that global average pooling reads
    features: int
    classes: int

    @property
    def multiply_adds(self):
        return sum(conv.multiply_adds for conv in self.convs) + self.features * self.classes

    @property
    def parameters(self):
        return sum(conv.weights + 2 * conv.outputs for conv in self.convs) + (self.features + 1) * self.classes


def network(name, image_size=None, classes=100):
    """The network of that name (MODELS) on pictures with this side; None: its own."""
    cifar = name in CIFAR_BLOCKS
    side = image_size or (32 if cifar else 224)
    blocks = (CIFAR_BLOCKS[name],) * 3 if cifar else IMAGENET_BLOCKS[name]
    channels = 16 if cifar else 64
    convs = [Conv(3, channels, 3, 1, side) if cifar else Conv(3, channels, 7, 2, side)]
    size, pool = convs[0].out_side, None
    if not cifar:
        after = (size + 2 - 3) // 2 + 1
        pool = (channels * size**2, channels * after**2)
        size = after
    width = channels
    for stage, count in enumerate(blocks):
        outputs = channels << stage
        for block in range(count):
            stride = 2 if stage > 0 and block == 0 else 1
            first = Conv(width, outputs, 3, stride, size)
            convs += [first, Conv(outputs, outputs, 3, 1, first.out_side, adds=True)]
            if stride != 1 or width != outputs:
                convs.append(Conv(width, outputs, 1, stride, size))
            width, size = outputs, first.out_side
    return Network(side, tuple(convs), pool, width * size**2, width, classes)


@dataclass(frozen=True)
class Work:
    operations: float = 0
    bytes: float = 0

    def seconds(self, ceilings, precision):
        """How long it takes at best; None where the machine's limits are not known.

        `ceilings` has bytes_per_second and <precision>_flops.
        """
        bandwidth, rate = ceilings.get("bytes_per_second"), ceilings.get(f"{precision}_flops")
        if not bandwidth or (self.operations and not rate):
            return None
        return max(self.bytes / bandwidth, self.operations / rate if self.operations else 0)


def step_work(net, batch, mode, precision):
    """Of a whole step in which everything is fused that can be.

    Evaluation: every convolution reads its input and writes its output, normalisation on the way; shortcuts are read
    once more. Training: the same; then a convolution's backward pass reads its output once for the sums of batch
    normalisation, gradient and output for its gradient, the input again for that of the filters, and writes that of the
    input; those of shortcuts are read. The gradients of weights are written; the optimiser reads weights, gradients and
    momentum, and writes weights and momentum.
    """
    element = ELEMENT_BYTES[precision]
    read = sum(conv.read for conv in net.convs)
    written = sum(conv.written for conv in net.convs)
    shortcuts = sum(conv.written for conv in net.convs if conv.adds)
    if mode == "eval":
        return Work(2 * batch * net.multiply_adds, element * (batch * (read + written + shortcuts) + net.parameters))
    stem = net.convs[0]
    operations = 2 * batch * (3 * net.multiply_adds - stem.multiply_adds)
    elements = 3 * read - stem.read + 4 * written + 2 * shortcuts
    return Work(operations, element * batch * elements + 4 * 6 * net.parameters)


def op_works(net, batch, mode, precision):
    """Of each op alone, its operands read and written once each, by the names of the program's profile."""
    element = ELEMENT_BYTES[precision]
    weights = sum(conv.weights for conv in net.convs)
    stem = net.convs[0]
    convolution = 2 * batch * sum(conv.multiply_adds for conv in net.convs)
    activations = element * batch * sum(conv.read + conv.written for conv in net.convs)
    written = element * batch * sum(conv.written for conv in net.convs)
    shortcuts = element * batch * sum(conv.written for conv in net.convs if conv.adds)
    linear = 2 * batch * net.features * net.classes
    fc_bytes = 4 * (batch * (net.features + net.classes) + net.features * net.classes)
    works = {
        "gather": Work(0, batch * (PICTURE_BYTES + element * stem.read)),
        "conv2d_forward": Work(convolution, activations + element * weights),
        "global_avg_pool_forward": Work(0, batch * (element * net.last + 4 * net.features)),
        "linear_forward": Work(linear, fc_bytes),
        "softmax_cross_entropy_forward": Work(0, 4 * batch * net.classes),
    }
    if net.pool:
        works["max_pool_forward"] = Work(0, element * batch * sum(net.pool))
    if mode == "eval":
        works["batch_norm_inference"] = Work(0, 2 * written + shortcuts)
        return works
    works |= {
        "batch_norm_forward": Work(0, 2 * written + shortcuts),
        "batch_norm_backward": Work(0, 3 * written + shortcuts),
        "conv2d_backward_weights": Work(convolution, activations + 4 * weights),
        "conv2d_backward_data": Work(convolution - 2 * batch * stem.multiply_adds,
                                     activations - element * batch * (stem.read + stem.written) + element * weights),
        "global_avg_pool_backward": Work(0, batch * (element * net.last + 4 * net.features)),
        "linear_backward": Work(2 * linear, 2 * fc_bytes),
        "softmax_cross_entropy_backward": Work(0, 8 * batch * net.classes),
        "optimizer_step": Work(0, (4 * 5 + (2 if precision == "bf16" else 0)) * net.parameters),  # and a rounded copy
    }
    if net.pool:
        works["max_pool_backward"] = Work(0, element * batch * sum(net.pool))
    return works

"""What decoders of generators are built from: steps up, attention over all places, endings guided by luma."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEADS = 4  # of attention
CHROMA_SCALE = 0.1  # heads work in units near 1; Cb and Cr of photos vary by about 0.05


class DecoderBlock(nn.Module):
    """Up-sample to the skip's size, concatenate the narrowed skip, convolve."""

    def __init__(self, width_in: int, skip: int, narrowed: int, width_out: int, convs: int) -> None:
        super().__init__()
        self.narrow = nn.Sequential(nn.Conv2d(skip, narrowed, 1, bias=False), nn.BatchNorm2d(narrowed), nn.ReLU())
        widths = [width_in + narrowed] + [width_out] * convs
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.convs = nn.Sequential(*layers)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
        out: Tensor = self.convs(torch.cat([x, self.narrow(skip)], 1))
        return out


class GlobalAttention(nn.Module):
    """Self-attention over all positions of a map, added to it (residual).

    Vaswani et al. 2017, without positional encoding: what a place looks like decides, so any
    photo size works.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = (
            t.reshape(n, h * w, self.heads, c // self.heads).transpose(1, 2)
            for t in self.qkv(self.norm(tokens)).chunk(3, -1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, h * w, c)
        attended: Tensor = self.out(mixed)
        return x + attended.transpose(1, 2).reshape(n, c, h, w)


class GuidedEnding(nn.Module):
    """From a coarser to full size: each place has a value and a slope against what luma has beyond the coarser size.

    Colour as a linear function of luma around each place is the model of the guided filter (He et al. 2010); that a
    network gives its coefficients on a coarser grid is from Gharbi et al. 2017. Little is computed at full size.
    reduction: how many times smaller the coarser size is.
    """

    def __init__(self, width: int, outputs: int, reduction: int = 2) -> None:
        super().__init__()
        self.reduction = reduction
        self.head = nn.Sequential(nn.Conv2d(width + 1, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 2 * outputs, 1))

    def forward(self, x: Tensor, luma: Tensor, more: Tensor | None = None) -> Tensor:
        """x: features at the coarser size; luma: N1HW; more: coefficients to be added, N,2*outputs,h,w."""
        low = F.avg_pool2d(luma, self.reduction)
        values = self.head(torch.cat([x, low - 0.5], 1))
        coefficients = torch.cat([values if more is None else values + more, low.to(x.dtype)], 1)
        full = F.interpolate(coefficients, size=luma.shape[-2:], mode="bilinear", align_corners=False)
        outputs = full.shape[1] // 2
        out: Tensor = full[:, :outputs] + full[:, outputs:-1] * (luma - full[:, -1:])
        return out


class ColorQueries(nn.Module):
    """Learned queries that look at a photo's features and become the colors that its places mix.

    After DDColor (Kang et al. 2023): in each layer the queries attend to the map of one scale, then to each other, then
    pass through an MLP; where a map's features answer to a query, its color is added. No positions are encoded, so any
    photo size works.

    width: of the queries, a multiple of HEADS. widths: channels of the maps that are looked at, one layer each.
    embedding: channels of the map whose places get colors; outputs: values of a color.
    """

    def __init__(self, queries: int, width: int, widths: tuple[int, ...], embedding: int, outputs: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(1, queries, width))
        self.layers = nn.ModuleList(QueryLayer(width, source) for source in widths)
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, embedding)
        self.mix = nn.Parameter(torch.zeros(outputs, queries))  # begins as if it weren't there

    def forward(self, maps: list[Tensor], x: Tensor) -> Tensor:
        """maps: NCHW, one for each layer; x: N,embedding,H,W -> N,outputs,H,W."""
        queries = self.queries.expand(x.shape[0], -1, -1)
        for layer, source in zip(self.layers, maps, strict=True):
            queries = layer(queries, source)
        keys = self.project(self.norm(queries)) * x.shape[1] ** -0.5
        colors = torch.matmul(self.mix.to(keys.dtype), keys)  # the mix of the products is the product with the mix
        tokens = x.flatten(2).transpose(1, 2)
        out = torch.matmul(tokens, colors.transpose(1, 2)).transpose(1, 2)
        return out.reshape(out.shape[:2] + x.shape[-2:])


class QueryLayer(nn.Module):
    """Cross-attention to a map, self-attention, MLP; each on normalized input and added (pre-norm)."""

    def __init__(self, width: int, source: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.source_norm = nn.LayerNorm(source)
        self.cross_query, self.cross_pair = nn.Linear(width, width), nn.Linear(source, 2 * width)
        self.cross_out = nn.Linear(width, width)
        self.self_triple, self.self_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))

    def forward(self, queries: Tensor, source: Tensor) -> Tensor:
        tokens = self.source_norm(source.flatten(2).transpose(1, 2))
        wanted = self.cross_query(self.norms[0](queries))
        queries = queries + self.cross_out(attend(wanted, *self.cross_pair(tokens).chunk(2, -1)))
        queries = queries + self.self_out(attend(*self.self_triple(self.norms[1](queries)).chunk(3, -1)))
        out: Tensor = queries + self.mlp(self.norms[2](queries))
        return out


def attend(queries: Tensor, keys: Tensor, values: Tensor, heads: int = HEADS) -> Tensor:
    """Scaled dot-product attention of several heads (Vaswani et al. 2017): N,Q,C and N,K,C -> N,Q,C.

    Written out, since the gradient of torch's own is several times as slow on a CPU for so few queries.
    """
    queries, keys, values = (t.reshape(*t.shape[:2], heads, -1).transpose(1, 2) for t in (queries, keys, values))
    scores = torch.matmul(queries * queries.shape[-1] ** -0.5, keys.transpose(2, 3))
    return torch.matmul(torch.softmax(scores, -1).to(values.dtype), values).transpose(1, 2).flatten(2)

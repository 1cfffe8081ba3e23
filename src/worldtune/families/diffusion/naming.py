"""One table: what every tensor is called here, in NVIDIA's checkpoints and in diffusers' (facts: checkpoint keys).

Names are those of `DiffusionModel`; `{i}` stands for the block's number. A diffusers name of None: the layout has no
place for the tensor.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

PATCH_EMBED = "net.patch_embed.weight"
"""The one tensor whose shape depends on the controls in foreign layouts."""

FRAME_INJECTION = "net.frame_injection."
"""Ours only; an NVIDIA export keeps these names, which NVIDIA's own loader passes over."""

LOG_VARIANCE = "logvar."

ROPE_SEQUENCE = "net.pos_embedder.seq"
"""0, 1, 2 ... up to the longest axis: NVIDIA's files hold it, everybody recomputes it."""


@dataclass(frozen=True)
class Row:
    """One tensor in three naming schemes."""

    ours: str
    nvidia: str
    diffusers: str | None


def _block_rows() -> list[Row]:
    rows = []
    for step, (part, norm) in enumerate((("self", "norm1"), ("cross", "norm2"), ("mlp", "norm3"))):
        for ours, theirs in (("down", 1), ("up", 2)):
            rows.append(
                Row(
                    f"net.blocks.{{i}}.{part}_modulation.{ours}.weight",
                    f"net.blocks.block{{i}}.blocks.{step}.adaLN_modulation.{theirs}.weight",
                    f"transformer_blocks.{{i}}.{norm}.linear_{theirs}.weight",
                )
            )
    for step, (part, attention) in enumerate((("self", "attn1"), ("cross", "attn2"))):
        for ours, nvidia, diffusers in (
            ("to_q", "to_q.0", "to_q"),
            ("to_k", "to_k.0", "to_k"),
            ("to_v", "to_v.0", "to_v"),
            ("to_out", "to_out.0", "to_out.0"),
            ("norm_q", "to_q.1", "norm_q"),
            ("norm_k", "to_k.1", "norm_k"),
        ):
            rows.append(
                Row(
                    f"net.blocks.{{i}}.{part}_attention.{ours}.weight",
                    f"net.blocks.block{{i}}.blocks.{step}.block.attn.{nvidia}.weight",
                    f"transformer_blocks.{{i}}.{attention}.{diffusers}.weight",
                )
            )
    for ours, nvidia, diffusers in (("up", "layer1", "net.0.proj"), ("down", "layer2", "net.2")):
        rows.append(
            Row(
                f"net.blocks.{{i}}.mlp.{ours}.weight",
                f"net.blocks.block{{i}}.blocks.2.block.{nvidia}.weight",
                f"transformer_blocks.{{i}}.ff.{diffusers}.weight",
            )
        )
    return rows


TABLE = (
    Row(PATCH_EMBED, "net.x_embedder.proj.1.weight", "patch_embed.proj.weight"),
    *(
        Row(
            f"net.learnable_positions.{axis}",
            f"net.extra_pos_embedder.pos_emb_{axis}",
            f"learnable_pos_embed.pos_emb_{axis}",
        )
        for axis in "hwt"
    ),
    Row("net.timestep.up.weight", "net.t_embedder.1.linear_1.weight", "time_embed.t_embedder.linear_1.weight"),
    Row("net.timestep.down.weight", "net.t_embedder.1.linear_2.weight", "time_embed.t_embedder.linear_2.weight"),
    Row("net.timestep_norm.weight", "net.affline_norm.weight", "time_embed.norm.weight"),
    *_block_rows(),
    Row("net.final.modulation.down.weight", "net.final_layer.adaLN_modulation.1.weight", "norm_out.linear_1.weight"),
    Row("net.final.modulation.up.weight", "net.final_layer.adaLN_modulation.2.weight", "norm_out.linear_2.weight"),
    Row("net.final.proj.weight", "net.final_layer.linear.weight", "proj_out.weight"),
    Row("net.view_channels.identity", "net.view_embeddings.weight", None),
    Row("net.view_channels.repeat.weight", "net.repeat_frame_embedding.weight", None),
    Row("net.view_channels.repeat.bias", "net.repeat_frame_embedding.bias", None),
    Row("net.trajectory_channels.proj.weight", "net.traj_embeddings.weight", None),
    Row("net.trajectory_channels.proj.bias", "net.traj_embeddings.bias", None),
    Row("net.token_channels.embed.weight", "net.token_embedder.weight", None),
    *(
        Row(FRAME_INJECTION + key, FRAME_INJECTION + key, None)
        for key in ("hidden.weight", "hidden.bias", "out.weight", "out.bias")
    ),
    Row("logvar.freqs", "logvar.0.freqs", None),
    Row("logvar.phases", "logvar.0.phases", None),
    Row("logvar.proj.weight", "logvar.1.weight", None),
)

_NUMBER = re.compile(r"(?<=blocks\.)(block)?(\d+)(?=\.)")


def _rename(names: Mapping[str, str], key: str) -> str | None:
    """Look up a name, with the number of the block put back; None when the table has no such row."""
    found = _NUMBER.search(key)
    if found is None:
        return names.get(key)
    target = names.get(key[: found.start()] + (found[1] or "") + "{i}" + key[found.end() :])
    return None if target is None else target.replace("{i}", found[2])


_OURS_FROM_NVIDIA = {row.nvidia: row.ours for row in TABLE}
_NVIDIA_FROM_OURS = {row.ours: row.nvidia for row in TABLE}
_OURS_FROM_DIFFUSERS = {row.diffusers: row.ours for row in TABLE if row.diffusers}
_DIFFUSERS_FROM_OURS = {row.ours: row.diffusers for row in TABLE if row.diffusers}


def ours_from_nvidia(key: str) -> str | None:
    """Our name of an NVIDIA tensor; None when it is not one of the model's."""
    return _rename(_OURS_FROM_NVIDIA, key)


def nvidia_from_ours(key: str) -> str | None:
    """NVIDIA's name of our tensor; None when NVIDIA's network has no such tensor."""
    return _rename(_NVIDIA_FROM_OURS, key)


def ours_from_diffusers(key: str) -> str | None:
    """Our name of a diffusers tensor; None when it is not one of the model's."""
    return _rename(_OURS_FROM_DIFFUSERS, key)


def diffusers_from_ours(key: str) -> str | None:
    """diffusers' name of our tensor; None when its network has no such tensor."""
    return _rename(_DIFFUSERS_FROM_OURS, key)

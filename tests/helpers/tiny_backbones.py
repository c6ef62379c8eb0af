"""The layouts of today's backbones with hardly any weights, under timm names of their own: `tiny_siglip` and others.

Each has the arguments of the timm model that is named beside it, except for width and depth.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from attire.pixels import torchvision_ops  # noqa: F401

from timm.layers import LayerNorm  # isort: skip  (after ops)
from timm.models import register_model  # isort: skip
from timm.models.eva import _create_eva  # isort: skip
from timm.models.fastvit import RepConditionalPosEnc, _create_fastvit  # isort: skip
from timm.models.swin_transformer import _create_swin_transformer  # isort: skip
from timm.models.vision_transformer import _create_vision_transformer  # isort: skip
from timm.models.vision_transformer_hybrid import ConvStem, _create_vision_transformer_hybrid  # isort: skip

VIT: dict[str, Any] = {"embed_dim": 32, "depth": 3, "num_heads": 2}


@register_model
def tiny_siglip(pretrained: bool = False, **options: Any) -> nn.Module:
    """As vit_base_patch32_siglip_256: attention pooling, no class token."""
    layout = {"patch_size": 32, "class_token": False, "global_pool": "map", "act_layer": "gelu_tanh"}
    model: nn.Module = _create_vision_transformer("tiny_siglip", pretrained, **{**VIT, **layout, **options})
    return model


@register_model
def tiny_clip(pretrained: bool = False, **options: Any) -> nn.Module:
    """As vit_base_patch32_clip_quickgelu_224: a class token, and a norm before the blocks."""
    layout = {"patch_size": 32, "pre_norm": True, "act_layer": "quick_gelu"}
    model: nn.Module = _create_vision_transformer("tiny_clip", pretrained, **{**VIT, **layout, **options})
    return model


@register_model
def tiny_dinov3(pretrained: bool = False, **options: Any) -> nn.Module:
    """As vit_small_patch16_dinov3: registers, rotary positions, any size."""
    layout = {
        "patch_size": 16,
        "dynamic_img_size": True,
        "qkv_bias": False,
        "init_values": 1e-5,
        "rope_type": "dinov3",
        "rope_temperature": 100,
        "rope_rotate_half": True,
        "use_rot_pos_emb": True,
        "use_abs_pos_emb": False,
        "num_reg_tokens": 4,
        "use_fc_norm": False,
        "norm_layer": partial(LayerNorm, eps=1e-5),
    }
    model: nn.Module = _create_eva("tiny_dinov3", pretrained, **{**VIT, **layout, **options})
    return model


@register_model
def tiny_pe_core(pretrained: bool = False, **options: Any) -> nn.Module:
    """As vit_pe_core_base_patch16_224: attention pooling, rotary and learned positions."""
    layout = {
        "patch_size": 16,
        "global_pool": "map",
        "attn_type": "rope",
        "use_pre_transformer_norm": True,
        "use_rot_pos_emb": True,
        "ref_feat_shape": (14, 14),
        "rope_grid_offset": 1.0,
        "rope_grid_indexing": "xy",
        "attn_pool_num_heads": 2,
        "attn_pool_mlp_ratio": 4.0,
        "norm_layer": partial(LayerNorm, eps=1e-5),
    }
    model: nn.Module = _create_eva("tiny_pe_core", pretrained, **{**VIT, **layout, **options})
    return model


@register_model
def tiny_mobileclip_b(pretrained: bool = False, **options: Any) -> nn.Module:
    """As vit_base_mci_224: a ViT on a stem of convolutions."""
    stem = ConvStem(
        channels=(8, 8, 32), stride=(4, 2, 2), kernel_size=(4, 2, 2), padding=0, in_chans=3, act_layer=nn.GELU
    )
    layout = {"backbone": stem, "embed_args": {"proj": False}, "no_embed_class": True}
    model: nn.Module = _create_vision_transformer_hybrid(  # type: ignore[no-untyped-call]
        "tiny_mobileclip_b", pretrained=pretrained, **{**VIT, **layout, **options}
    )
    return model


@register_model
def tiny_mobileclip_s(pretrained: bool = False, **options: Any) -> nn.Module:
    """As fastvit_mci0: convolutions, and attention in the last stage."""
    layout = {
        "layers": (1, 1, 1, 1),
        "embed_dims": (8, 16, 32, 64),
        "mlp_ratios": (3, 3, 3, 3),
        "se_downsamples": (False, False, True, True),
        "pos_embs": (None, None, None, partial(RepConditionalPosEnc, spatial_shape=(7, 7))),
        "token_mixers": ("repmixer", "repmixer", "repmixer", "attention"),
        "lkc_use_act": True,
    }
    model: nn.Module = _create_fastvit(  # type: ignore[no-untyped-call]
        "tiny_mobileclip_s", pretrained, **{**layout, **options}
    )
    return model


@register_model
def tiny_swin(pretrained: bool = False, **options: Any) -> nn.Module:
    """As swin_tiny_patch4_window7_224: attention within windows."""
    layout = {"patch_size": 4, "window_size": 7, "embed_dim": 8, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 2, 2)}
    model: nn.Module = _create_swin_transformer("tiny_swin", pretrained, **{**layout, **options})
    return model

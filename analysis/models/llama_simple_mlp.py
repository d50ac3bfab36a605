"""`LlamaSimpleMLP`: the target architecture of published parameter decompositions.

A pre-norm decoder: RMSNorm, RoPE attention with grouped keys and values, an MLP without a gate,
no dropout, no biases, tied embeddings. It calls attention through the transformers attention
interface, so whatever instruments another architecture instruments this one.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Cache,
    DynamicCache,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.masking_utils import (
    create_causal_mask,
)
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import eager_attention_forward
from transformers.utils.output_capturing import (
    capture_outputs,
)

from analysis.attention import rotate


class LlamaSimpleMLPConfig(PreTrainedConfig):
    """Sizes of a `LlamaSimpleMLP`; the defaults are those of the reference model."""

    model_type = "llama_simple_mlp"

    vocab_size: int = 2048
    hidden_size: int = 256
    intermediate_size: int = 1024
    num_hidden_layers: int = 4
    num_attention_heads: int = 8
    num_key_value_heads: int = 4
    max_position_embeddings: int = 512
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_adjacent_pairs: bool = False
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True
    bos_token_id: int | None = 0

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.hidden_size // self.num_attention_heads


class RMSNorm(nn.Module):
    """Root-mean-square norm with a gain, computed in float32 whatever the input is."""

    def __init__(self, d_model: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Scale every vector to unit mean square, times the gain."""
        wide = x.float()
        unit = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return (unit * self.weight.float()).to(x.dtype)


class ResidualWriter(nn.Linear):
    """A linear map whose output is added to the residual stream; starts smaller with depth."""


class Attention(nn.Module):
    """Causal attention of one layer; `num_key_value_groups` query heads share a key and value."""

    def __init__(self, config: LlamaSimpleMLPConfig, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.head_dim = config.head_dim
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = True
        d_model, d_kv = config.hidden_size, config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(d_model, d_model, bias=False)
        self.k_proj = nn.Linear(d_model, d_kv, bias=False)
        self.v_proj = nn.Linear(d_model, d_kv, bias=False)
        self.o_proj = ResidualWriter(d_model, d_model, bias=False)

    def forward(
        self,
        x: Float[Tensor, "batch pos d_model"],
        angle: Float[Tensor, "batch_or_one pos half"],
        attention_mask: Tensor | None,
        cache: Cache | None,
        **kwargs: Any,
    ) -> tuple[Float[Tensor, "batch pos d_model"], Tensor | None]:
        """What all heads write, and the pattern if the attention function returns it."""
        batch, pos, _ = x.shape
        q, k, v = (
            proj(x).view(batch, pos, -1, self.head_dim).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        adjacent = self.config.rope_adjacent_pairs
        q, k = rotate(q, angle, adjacent=adjacent), rotate(k, angle, adjacent=adjacent)
        if cache is not None:
            k, v = cache.update(k, v, self.layer_idx)
        attend: Callable[..., tuple[Tensor, Tensor | None]] = ALL_ATTENTION_FUNCTIONS.get_interface(
            str(self.config._attn_implementation),  # pyright: ignore[reportPrivateUsage]
            eager_attention_forward,
        )
        z, pattern = attend(
            self, q, k, v, attention_mask, dropout=0.0, scaling=self.scaling, **kwargs
        )
        return self.o_proj(z.reshape(batch, pos, -1)), pattern


class MLP(nn.Module):
    """`c_fc`, GELU (tanh), `down_proj`; no gate."""

    def __init__(self, config: LlamaSimpleMLPConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = ResidualWriter(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """What the layer's MLP adds to the residual stream."""
        return self.down_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    """One layer: attention, then MLP, each on the normed residual stream."""

    def __init__(self, config: LlamaSimpleMLPConfig, layer_idx: int) -> None:
        super().__init__()
        self.rms_1 = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attn = Attention(config, layer_idx)
        self.rms_2 = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = MLP(config)

    def forward(
        self, x: Float[Tensor, "batch pos d_model"], *args: Any, **kwargs: Any
    ) -> Float[Tensor, "batch pos d_model"]:
        """The residual stream after this layer; other arguments go to the attention."""
        x = x + self.attn(self.rms_1(x), *args, **kwargs)[0]
        return x + self.mlp(self.rms_2(x))


class LlamaSimpleMLPForCausalLM(PreTrainedModel, GenerationMixin):
    """The language model, with the state-dict keys of the published runs."""

    config_class = LlamaSimpleMLPConfig
    base_model_prefix = ""
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _no_split_modules = {"Block"}  # noqa: RUF012 - declared so by transformers
    _can_record_outputs = {"hidden_states": Block, "attentions": Attention}  # noqa: RUF012
    _tied_weights_keys = {"lm_head.weight": "wte.weight"}  # noqa: RUF012

    def __init__(self, config: LlamaSimpleMLPConfig) -> None:
        super().__init__(config)
        self.wte = nn.Embedding(config.vocab_size, config.hidden_size)
        self.h = nn.ModuleList(Block(config, i) for i in range(config.num_hidden_layers))
        self.ln_f = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Small normal weights; those that write to the residual stream shrink with depth."""
        std = self.config.initializer_range
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=2.5 * std)
        elif isinstance(module, ResidualWriter):
            nn.init.normal_(module.weight, std=std * (2 * self.config.num_hidden_layers) ** -0.5)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=std)

    def get_input_embeddings(self) -> nn.Module:
        """The token embedding."""
        return self.wte

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embedding."""
        self.wte = value

    def get_output_embeddings(self) -> nn.Module:
        """The unembedding."""
        return self.lm_head

    def _angles(self, position_ids: Int[Tensor, "batch_or_one pos"]) -> Tensor:
        half = torch.arange(0, self.config.head_dim, 2, device=position_ids.device)
        frequency = self.config.rope_theta ** (-half.float() / self.config.head_dim)
        return position_ids[..., None].float() * frequency

    @capture_outputs
    def forward(  # noqa: PLR0913, PLR0917 - the signature of every transformers model
        self,
        input_ids: Int[Tensor, "batch pos"] | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Float[Tensor, "batch pos d_model"] | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Next-token logits, as every transformers causal model answers them.

        Args:
            input_ids: Token ids; or give `inputs_embeds`.
            attention_mask: 1 for tokens, 0 for padding.
            position_ids: Defaults to 0, 1, 2, ... after what the cache holds.
            past_key_values: Keys and values of earlier tokens.
            inputs_embeds: Residual stream to start from in place of embedded tokens.
            labels: Token ids for the mean next-token loss.
            use_cache: Whether to return a cache.
            logits_to_keep: How many last positions to unembed; 0 means all.
            **kwargs: Handed to the attention function.

        Returns:
            Logits (batch, pos, d_vocab), and the loss and cache that were asked for.
        """
        x = self.wte(input_ids) if inputs_embeds is None else inputs_embeds
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        seen = 0 if past_key_values is None else past_key_values.get_seq_length()
        if position_ids is None:
            position_ids = torch.arange(seen, seen + x.shape[1], device=x.device)[None]
        mask: Tensor | None = create_causal_mask(
            config=self.config,
            inputs_embeds=x,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            position_ids=position_ids,
        )
        angle = self._angles(position_ids)
        for block in self.h:
            x = block(x, angle, mask, past_key_values, **kwargs)
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(self.ln_f(x)[:, keep])
        loss: Tensor | None = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        return CausalLMOutputWithPast(loss=loss, logits=logits, past_key_values=past_key_values)


AutoConfig.register(LlamaSimpleMLPConfig.model_type, LlamaSimpleMLPConfig)
AutoModelForCausalLM.register(LlamaSimpleMLPConfig, LlamaSimpleMLPForCausalLM)

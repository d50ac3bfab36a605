#!/usr/bin/env bash
# transformers 5.23.0: the attentions that Granite SWA answers are not those that its output is made of.
#
# Its layers have learned sinks: a share of every query's attention goes to a key that holds nothing.
# GPT-OSS has the same sinks, and with output_attentions=True its rows add up to less than 1, the rest
# being the sink's. Granite SWA scales the output instead and returns the softmax before that, whose
# rows add up to 1: the pattern times the values is not what the heads read.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON'
import torch
import transformers
from transformers import GptOssConfig, GptOssForCausalLM, GraniteSWAConfig, GraniteSWAForCausalLM

sizes = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
             num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=64)
torch.manual_seed(0)
ids = torch.randint(3, 64, (1, 10))


def looked_at(net, attention):
    """Rows of the answered pattern, and how far pattern times values is from what heads read."""
    with torch.no_grad():
        for name, weight in net.named_parameters():
            weight.normal_(std=0.3) if weight.dim() > 1 or "sinks" in name else None
    values, read = [], []
    attention.v_proj.register_forward_hook(lambda _m, _a, out: values.append(out))
    attention.o_proj.register_forward_pre_hook(lambda _m, args: read.append(args[0]))
    with torch.no_grad():
        (pattern,) = net.eval()(ids, output_attentions=True, use_cache=False).attentions
    v = values[0].view(1, 10, 2, 8).transpose(1, 2).repeat_interleave(2, dim=1)
    z = (pattern @ v).transpose(1, 2).reshape(1, 10, 32)
    return pattern.sum(-1).max().item(), pattern.sum(-1).min().item(), (z - read[0]).abs().max().item()


oss = GptOssForCausalLM._from_config(
    GptOssConfig(**sizes, num_local_experts=2, num_experts_per_tok=1, layer_types=["full_attention"]),
    attn_implementation="eager")
swa = GraniteSWAForCausalLM._from_config(
    GraniteSWAConfig(**sizes, bos_token_id=0, eos_token_id=1, layer_types=["full_attention"]), attn_implementation="eager")
found = {"GPT-OSS": looked_at(oss, oss.model.layers[0].self_attn),
         "Granite SWA": looked_at(swa, swa.model.layers[0].self_attn)}
print("transformers", transformers.__version__)
for name, (most, least, gap) in found.items():
    print(f"{name}: rows add up to {least:.3f} to {most:.3f}; pattern @ values is off by {gap:.3f}")
assert found["GPT-OSS"][1] < 0.99 and found["GPT-OSS"][2] < 1e-5, found
assert found["Granite SWA"][1] > 0.9999 and found["Granite SWA"][2] > 0.01, found
PYTHON

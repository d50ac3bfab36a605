#!/usr/bin/env bash
# transformers 5.23.0: what AutoModelForImageTextToText saves of a ShieldGemma 2, it cannot load.
#
# The auto class makes a Gemma3ForConditionalGeneration of a ShieldGemma2Config. Saved and loaded by
# the same class, and so also a folder that ShieldGemma2ForImageClassification saved, it has every
# weight of the text model drawn at random: the names are translated by the model type, which knows
# one more `model.` than this class has. No error is raised. With a Gemma3Config of the same sizes
# the logits come back bit for bit.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 transformers==5.23.0
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON'
import tempfile

import torch
import transformers
from transformers import AutoModelForImageTextToText, Gemma3Config, ShieldGemma2Config
from transformers import ShieldGemma2ForImageClassification

transformers.logging.set_verbosity_error()
text = dict(model_type="gemma3_text", vocab_size=64, hidden_size=32, intermediate_size=48,
            num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
            max_position_embeddings=64, sliding_window=16)
vision = dict(model_type="siglip_vision_model", hidden_size=32, intermediate_size=32,
              num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
sizes = dict(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_id=60)
torch.manual_seed(0)
ids = torch.randint(3, 60, (1, 10))


@torch.no_grad()
def lost(saved, whole, kind=AutoModelForImageTextToText):
    """Weights that are not found again, and how far the logits are then off."""
    with tempfile.TemporaryDirectory() as folder:
        saved.save_pretrained(folder)
        again, told = kind.from_pretrained(folder, output_loading_info=True)
    inner = again.model if isinstance(again, ShieldGemma2ForImageClassification) else again
    off = (whole.eval()(ids).logits - inner.eval()(ids).logits).abs().max().item()
    return len(told["missing_keys"]), off


gemma = AutoModelForImageTextToText.from_config(Gemma3Config(**sizes))
shield = AutoModelForImageTextToText.from_config(ShieldGemma2Config(**sizes))
own = ShieldGemma2ForImageClassification(ShieldGemma2Config(**sizes))
found = {"Gemma 3, auto class": lost(gemma, gemma),
         "ShieldGemma 2, its own class": lost(own, own.model, ShieldGemma2ForImageClassification),
         "ShieldGemma 2, auto class": lost(shield, shield),
         "ShieldGemma 2, its own class, then the auto class": lost(own, own.model)}
print("transformers", transformers.__version__)
for name, (missing, off) in found.items():
    print(f"{name}: {missing} weights not found again; logits off by {off:.3f}")
right, wrong = list(found.values())[:2], list(found.values())[2:]
assert all(each == (0, 0.0) for each in right), found
assert all(missing > 20 and off > 0.01 for missing, off in wrong), found
PYTHON

from tokenizers import Tokenizer
from tests.hostile_book import *
import time, shutil
def test_x(worded):
    t=Tokenizer.from_file(str(worded/"tokenizer.json"))
    h=hostile_tokenizer(t)
    d=[h.decode([i],skip_special_tokens=False) for i in range(h.get_vocab_size())]
    print([repr(x[:60]) for x in d[:400:5]])
    f=Path("/tmp/hb/x<img src=x onerror=globalThis.sung=1>{{7*7}}`$"); shutil.rmtree(f,ignore_errors=True); f.mkdir()
    sizes = {**GQA, "vocab_size": h.get_vocab_size(), "eos_token_id": None, "max_position_embeddings": 256}
    build(LlamaSimpleMLPConfig(**sizes)).save_pretrained(f)
    h.save(str(f/"tokenizer.json"))
    rng=Random(1)
    text="\n".join(english.paragraph(rng)+" "+rng.choice(ATTACKS) for _ in range(800))
    (f.parent/"t<script>globalThis.sung=1<|{{7}}.txt").write_text(text)

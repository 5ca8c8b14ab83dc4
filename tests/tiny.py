"""Models small enough to train in a test: random weights, the default models' tokenizers and template."""

from __future__ import annotations

import json
from pathlib import Path

from executors.models import resolve


def write_tiny(folder: Path, words: int = 0) -> str:
    """Write it to `folder`, as transformers saves a model; its name for a plan. `words`: of its vocabulary; 0: all."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(resolve("smollm2-135m-instruct"), local_files_only=True)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=words or len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if words:
        keep_words(folder / "tokenizer.json", words)
    return str(folder)


def keep_words(path: Path, words: int) -> None:
    """Of a byte-level tokenizer's file keep the first `words` tokens: ids stand in the order of its merges."""
    whole = json.loads(path.read_text(encoding="utf-8"))
    model = whole["model"]
    model["vocab"] = {token: n for token, n in model["vocab"].items() if n < words}
    model["merges"] = [pair for pair in model["merges"] if "".join(pair) in model["vocab"]]
    path.write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")


def write_tiny_encoder(folder: Path) -> str:
    """Write a BERT of 4 layers to `folder`, as sentence-transformers saves an encoder; its name for a plan."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import AutoTokenizer, BertConfig, BertModel

    tokenizer = AutoTokenizer.from_pretrained(resolve("all-minilm-l6-v2"), local_files_only=True)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **sizes)
    BertModel(config).save_pretrained(folder / "transformer")
    tokenizer.save_pretrained(folder / "transformer")
    transformer = Transformer(str(folder / "transformer"), max_seq_length=32)
    whole = SentenceTransformer(modules=[transformer, Pooling(32, "mean")], device="cpu")
    whole.save(str(folder / "encoder"), create_model_card=False)
    return str(folder / "encoder")

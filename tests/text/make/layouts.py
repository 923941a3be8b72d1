"""Tokenizers in the layouts that published models use, trained on our own text with Hugging Face's library."""

import json
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.pre_tokenizers import ByteLevel, Metaspace, Split
from tokenizers import Regex

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "models/harbour/make"))

MORE_TEXT = """Das Boot lag über Nacht im Hafen, größer als die Möwen dachten. L'été, l'été, où étais-tu? Ça ira.
Старый рыбак смотрит на море. 港の朝は静かです。船が来ました。바다는 넓다. The gull said: "I'll be back at 10:45 on 3/4/2026!"
  if (x == 12345) {\n\t\treturn x + 1;\n    }\n\n\n  The  boat   had    four     sails. 😀😀 ⚓ naïve café, re\u0301sume\u0301
""" * 3


def training_text():
    text = "\n".join(path.read_text() for path in sorted((ROOT / "models/harbour/make").glob("*.md")))
    return [line + "\n" for line in (text + MORE_TEXT).split("\n")]


LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
NEMO = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
        r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CL100K = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"
          r"|\s*[\r\n]|\s+(?!\S)|\s+")
MARK = "▁"


def added(first_id, texts, **flags):
    base = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return [{"id": first_id + i, "content": text, **base, **flags} for i, text in enumerate(texts)]


def template(before, after=()):
    def item(token):
        return {"SpecialToken": {"id": token[0], "type_id": 0}}
    single = [item(t) for t in before] + [{"Sequence": {"id": "A", "type_id": 0}}] + [item(t) for t in after]
    special = {t[0]: {"id": t[0], "ids": [t[1]], "tokens": [t[0]]} for t in [*before, *after]}
    return {"type": "TemplateProcessing", "single": single, "pair": single + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": special}


def trained_bpe(normalizer, pre_tokenizer, vocab_size, alphabet=()):
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.train_from_iterator(training_text(), trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=list(alphabet), show_progress=False))
    return json.loads(tokenizer.to_str())["model"]


def file(model, **parts):
    base = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
            "pre_tokenizer": None, "post_processor": None, "decoder": None}
    return {**base, **parts, "model": model}


def sentencepiece_like(first=("<unk>", "<s>", "</s>"), vocab_size=300, unknown=True):
    """A model with byte tokens behind the first ones, as converters make it of sentencepiece's."""
    trained = trained_bpe(None, Metaspace(replacement=MARK, prepend_scheme="always"), vocab_size)
    texts = list(first) + [f"<0x{byte:02X}>" for byte in range(256)]
    texts += [t for t in sorted(trained["vocab"], key=trained["vocab"].get) if t not in texts]
    return {"type": "BPE", "dropout": None, "unk_token": "<unk>" if unknown else None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
            "vocab": {text: id for id, text in enumerate(texts)}, "merges": trained["merges"]}


def byte_level(pattern, normalizer=None, ignore_merges=False, vocab_size=330, steps=None):
    steps = steps or [{"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
                      {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]
    trainer = pre_tokenizers.Sequence([Split(Regex(pattern), "isolated"), ByteLevel(False, use_regex=False)])
    model = trained_bpe(None, trainer, vocab_size, ByteLevel.alphabet())
    model["ignore_merges"] = ignore_merges
    return model, {"normalizer": normalizer, "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
                   "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}}


REPLACE_MARK = {"type": "Replace", "pattern": {"String": MARK}, "content": " "}
LLAMA2_DECODER = {"type": "Sequence", "decoders": [
    REPLACE_MARK, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
PREPEND_MARK = {"type": "Sequence", "normalizers": [
    {"type": "Prepend", "prepend": MARK}, {"type": "Replace", "pattern": {"String": " "}, "content": MARK}]}
BEGIN = ("<s>", 1)


def llama2():
    model = sentencepiece_like()
    model["merges"] = [" ".join(pair) for pair in model["merges"]]
    return file(model, added_tokens=added(0, ["<unk>", "<s>", "</s>"]), normalizer=PREPEND_MARK, decoder=LLAMA2_DECODER,
                post_processor=template([BEGIN]))


def llama2_normalized_tokens():
    """The first conversions, whose special tokens are looked for in normalised text."""
    out = llama2()
    out["added_tokens"] = added(0, ["<unk>", "<s>", "</s>"], normalized=True)
    return out


def mistral():
    return file(sentencepiece_like(("<unk>", "<s>", "</s>", "[INST]", "[/INST]")),
                added_tokens=added(0, ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]),
                pre_tokenizer={"type": "Metaspace", "replacement": MARK, "prepend_scheme": "first", "split": False},
                decoder=LLAMA2_DECODER, post_processor=template([BEGIN]))


def phi3():
    out = llama2()
    vocab_size = len(out["model"]["vocab"])
    out["added_tokens"][2].update(rstrip=True, special=False)
    out["added_tokens"] += added(vocab_size, ["<|endoftext|>"])
    out["added_tokens"] += added(vocab_size + 1, ["<|assistant|>", "<|system|>", "<|end|>", "<|user|>"], rstrip=True)
    return out


def gemma():
    runs = [MARK * n for n in range(2, 6)] + ["\n" * n for n in range(1, 4)] + ["\t"]
    model = sentencepiece_like(["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>", *runs])
    tokens = added(0, ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"])
    return file(model, added_tokens=tokens + added(6, runs, special=False),
                normalizer={"type": "Replace", "pattern": {"String": " "}, "content": MARK},
                pre_tokenizer={"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False},
                decoder={"type": "Sequence", "decoders": LLAMA2_DECODER["decoders"][:3]},
                post_processor=template([("<bos>", 2)]))


def with_chat_tokens(model, parts, **more):
    size = len(model["vocab"])
    return file(model, added_tokens=added(size, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]) +
                added(size + 3, ["<tool_call>", "</tool_call>"], special=False), **parts, **more)


def qwen2():
    return with_chat_tokens(*byte_level(QWEN2, {"type": "NFC"}))


def llama3():
    model, parts = byte_level(LLAMA3, ignore_merges=True)
    # A token that no merge makes: only ignore_merges gives it.
    model["vocab"]["Ġharbourmaster"] = len(model["vocab"])
    size = len(model["vocab"])
    return file(model, added_tokens=added(size, ["<|begin_of_text|>", "<|eot_id|>"]), **parts, post_processor={
        "type": "Sequence", "processors": [{"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False,
                                            "use_regex": True}, template([("<|begin_of_text|>", size)])]})


def smollm():
    digits = {"type": "Digits", "individual_digits": True}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    gpt2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    return with_chat_tokens(*byte_level(gpt2, steps=[digits, level]))


def nemo():
    return with_chat_tokens(*byte_level(NEMO, ignore_merges=True))


def o200k():
    return with_chat_tokens(*byte_level(O200K))


def cl100k():
    return with_chat_tokens(*byte_level(CL100K))


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = Metaspace(replacement=MARK, prepend_scheme="always")
    tokenizer.train_from_iterator(training_text(), trainers.UnigramTrainer(
        vocab_size=200, unk_token="<unk>", special_tokens=["<unk>", "<s>", "</s>"], show_progress=False))
    model = json.loads(tokenizer.to_str())["model"]
    model["vocab"] = [[text, round(score, 4)] for text, score in model["vocab"]]
    metaspace = {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "always", "split": True}
    return file(model, added_tokens=added(0, ["<unk>", "<s>", "</s>"]), pre_tokenizer=metaspace, decoder=metaspace,
                post_processor=template([BEGIN], [("</s>", 2)]))


def unigram_bytes():
    out = unigram()
    out["model"]["byte_fallback"] = True
    out["model"]["vocab"] += [[f"<0x{byte:02X}>", 0.0] for byte in range(256)]
    out["pre_tokenizer"]["prepend_scheme"] = "first"
    out["decoder"] = {"type": "Sequence", "decoders": LLAMA2_DECODER["decoders"][:3]}
    return out


def unknowns(fuse):
    """Few letters, no bytes: unknown tokens."""
    model = sentencepiece_like()
    texts = [t for t in model["vocab"] if not t.startswith("<0x")]
    model["vocab"] = {text: id for id, text in enumerate(texts)}
    model.update(byte_fallback=False, fuse_unk=fuse)
    return file(model, added_tokens=added(0, ["<unk>", "<s>", "</s>"]), normalizer=PREPEND_MARK, decoder=LLAMA2_DECODER)


def steps():
    """The less common steps, and added tokens with every flag."""
    model, parts = byte_level(QWEN2)
    size = len(model["vocab"])
    tokens = added(size, ["<left>"], lstrip=True) + added(size + 1, ["<both>"], lstrip=True, rstrip=True)
    tokens += added(size + 2, ["boat"], single_word=True, special=False)
    tokens += added(size + 3, ["Gull", "gull s"], normalized=True, special=False)
    parts["normalizer"] = {"type": "Sequence", "normalizers": [
        {"type": "NFKC"}, {"type": "Lowercase"}, {"type": "Strip", "strip_left": True, "strip_right": True},
        {"type": "Replace", "pattern": {"Regex": r"\s{2,}|\d+$"}, "content": " / "}]}
    parts["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": r"\w+|$"}, "behavior": "MergedWithNext", "invert": True},
        {"type": "Punctuation", "behavior": "Contiguous"}, {"type": "Digits", "individual_digits": False},
        {"type": "Split", "pattern": {"String": "ea"}, "behavior": "MergedWithPrevious", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}]}
    return file(model, added_tokens=tokens, **parts)


def words():
    """Pieces that end at white space."""
    model = sentencepiece_like()
    return file(model, added_tokens=added(0, ["<unk>", "<s>", "</s>"]),
                normalizer={"type": "Sequence", "normalizers": [{"type": "NFKD"}, {"type": "NFD"}]},
                pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Whitespace"}]},
                decoder={"type": "Fuse"})


LAYOUTS = {
    "llama2": llama2, "llama2_normalized_tokens": llama2_normalized_tokens, "mistral": mistral, "phi3": phi3,
    "gemma": gemma, "qwen2": qwen2, "llama3": llama3, "smollm": smollm, "nemo": nemo, "o200k": o200k, "cl100k": cl100k,
    "unigram": unigram, "unigram_bytes": unigram_bytes, "unknown_fused": lambda: unknowns(True),
    "unknown_single": lambda: unknowns(False), "steps": steps, "words": words,
}


def from_sentencepiece(path, layout):
    """A published tokenizer.model as the converters lay it out: merges are all pairs that make a token, by score."""
    import sentencepiece
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    size = processor.get_piece_size()
    vocab = {processor.id_to_piece(id): id for id in range(size)}
    merges = []
    for text, id in vocab.items():
        pairs = [(text[:i], text[i:]) for i in range(1, len(text)) if text[:i] in vocab and text[i:] in vocab]
        pairs.sort(key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
        merges += [(-processor.get_score(id), n, pair) for n, pair in enumerate(pairs)]
    merges = [pair for _, _, pair in sorted(merges, key=lambda m: m[0])]
    out = LAYOUTS[layout]()
    out["model"].update(vocab=vocab, merges=[list(pair) for pair in merges])
    names = {token["content"] for token in out["added_tokens"]}
    out["added_tokens"] = [dict(token, id=vocab[token["content"]]) for token in out["added_tokens"] if token["content"] in vocab]
    extra = [name for name in names if name not in vocab]
    out["added_tokens"] += added(size, sorted(extra), rstrip=layout == "phi3")
    return out

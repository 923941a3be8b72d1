"""Random texts that tokenizers disagree about where they can."""

import random
import unicodedata

from layouts import training_text

SPACES = [" ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r", "\u00a0", "\u3000", "\u2003", "\u200b", "\u0085", "\u2028", "\u180e",
          "\x0b", "\x0c", "\u1680", "\ufeff"]
ODD = ["'S", "'ll", "'LL", "'ſ", "'re", "I'Ve", "▁", "▁▁", "<0x0A>", "<0xE2>", "<0xff>", "<s", "</s", "s>", "<|im", "|>", "İ", "ß", "ſ",
       "e\u0301", "\u0301", "\u1100\u1161\u11a8", "각", "ﬁ", "①", "½", "²", "Ⅷ", "٣", "१२३", "👩\u200d👩\u200d👧", "🇩🇪", "😀", "\U0001f3fd",
       "\x00", "\x01", "\x7f", "\u200d", "\u200c", "ά", "Å", "Ω", "ｶﾞ", "_", "__", "$", "^", "//", "...", "12345", "3.14", "０１", "𝟙",
       "\ue000", "\ufffd", "\U0010ffff", "Ġ", "Ċ", "é", "Ã", "ǅ", "ʰ", "harbourmaster", " harbourmaster", "boat", "Gull", "gull s"]
WORDS = sorted({word for line in training_text() for word in line.split()})


def assigned(code_point):
    """As of the Unicode version of this Python (3.11: 14.0)."""
    return unicodedata.category(chr(code_point)) not in ("Cs", "Cn")


PLANES = [(0, 0x80), (0x80, 0x800), (0x800, 0x3400), (0x3400, 0xA000), (0xA000, 0x10000), (0x10000, 0x20000), (0x20000, 0x40000)]


def random_character(rng):
    while True:
        low, high = rng.choice(PLANES)
        code_point = rng.randrange(low, high)
        if assigned(code_point):
            return chr(code_point)


def random_text(rng, specials):
    parts = []
    for _ in range(rng.choice([0, 1, 2, 3, 5, 8, 13, 21])):
        kind = rng.random()
        if kind < 0.25:
            parts.append(rng.choice(WORDS))
        elif kind < 0.45:
            parts.append(rng.choice(SPACES))
        elif kind < 0.65:
            parts.append(rng.choice(ODD))
        elif kind < 0.75 and specials:
            special = rng.choice(specials)
            parts.append(special if rng.random() < 0.8 else special[:rng.randrange(len(special) + 1)])
        elif kind < 0.85:
            parts.append(random_character(rng))
        elif kind < 0.95:
            parts.append("".join(rng.choice("abest'0123 .,\nT\t-") for _ in range(rng.randrange(1, 9))))
        else:
            parts.append(rng.choice(["a", " ", "\n", "▁", "0", "😀", "="]) * rng.randrange(1, 40))
        if rng.random() < 0.3:
            parts.append(" ")
    return "".join(parts)


def cases(seed, specials, count):
    """(text, add_special, parse_special)."""
    rng = random.Random(seed)
    for _ in range(count):
        yield random_text(rng, specials), rng.random() < 0.3, rng.random() < 0.9

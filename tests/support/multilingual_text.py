"""A large text in many scripts, the same in every run and made without any file.

It is made for pre-tokenizers: words, numbers, marks, emoji, every kind of white space, code, and
the places where they meet. Only characters that Unicode 14 assigns occur, so that libraries with
different Unicode tables agree on it.
"""
import random
import sys
import unicodedata

# First and last code point of letters that words are made of.
SCRIPTS = {
    "latin": (0x61, 0x7A), "latin-1": (0xC0, 0x17E), "greek": (0x391, 0x3C9),
    "cyrillic": (0x410, 0x44F), "armenian": (0x561, 0x586), "hebrew": (0x5D0, 0x5EA),
    "arabic": (0x620, 0x64A), "devanagari": (0x900, 0x94F), "bengali": (0x985, 0x9CD),
    "tamil": (0xB85, 0xBCD), "thai": (0xE01, 0xE4E), "tibetan": (0xF40, 0xF84),
    "georgian": (0x10D0, 0x10FA), "hangul": (0xAC00, 0xD7A3), "ethiopic": (0x1200, 0x137C),
    "cherokee": (0x13A0, 0x13F5), "khmer": (0x1780, 0x17D3), "mongolian": (0x1820, 0x1878),
    "hiragana": (0x3041, 0x309F), "katakana": (0x30A1, 0x30FF), "han": (0x4E00, 0x9FFF),
    "han extension b": (0x20000, 0x2A6DF), "gothic": (0x10330, 0x1034A),
    "deseret": (0x10400, 0x1044F), "mathematical": (0x1D400, 0x1D7FF), "vai": (0xA500, 0xA60B),
    "modifier": (0x2B0, 0x2EE), "enclosed": (0x2460, 0x24FF), "full width": (0xFF21, 0xFF5A),
}
DIGITS = "0123456789٠١٢٣٤٥٦٧٨٩०१२३४५６７８９¼½Ⅷⅻ²³①㊿"
SPACES = " \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u180e\u2000\u2003\u2009\u200a\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
EMOJI = ["👋", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "👍🏽", "❤️", "1️⃣", "🫠", "☃", "🧑🏿‍🚀"]
CONTRACTIONS = ["'s", "'T", "'re", "'VE", "'m", "'ll", "'D", "'ſ", "'S", "’s", "'l", "''s", "'lL"]
CODE = ["def f(x):\n    return x[0]**2  # ok\n", "for(int i=0;i<10;++i){\n\tcout<<i;\n}\r\n",
        "<a href=\"x\">&amp;</a>", "SELECT * FROM t WHERE a>=1;", "https://x.org/a?b=c&d=%20#e",
        "\\frac{a}{b}$$", "C:\\temp\\*.txt", "===>><<<---", "a_b__c-d.e/f\\g", "/*\n * x\n */\n\n\n"]
SPECIALS = ["<|user|>", "[gMASK]<sop>", "<think>", "</think>", "<|endoftext|", "<|begin_of_text|>",
            "/nothink", "<tool_call>f<arg_key>", "<|im_start|><|im_end|>", "<|eot_id|>"]


def assigned(first, last):
    return [chr(point) for point in range(first, last + 1)
            if unicodedata.category(chr(point)) not in ("Cn", "Cs", "Co")]


def multilingual_text(characters, seed=20):
    """About `characters` characters."""
    choose = random.Random(seed)
    alphabets = [assigned(*limits) for limits in SCRIPTS.values()]
    everything = [point for point in assigned(0, sys.maxunicode) if point != "\x00"]
    marks = [point for point in everything if unicodedata.category(point) in ("Mn", "Mc", "Me")]

    def word():
        alphabet = choose.choice(alphabets)
        letters = choose.choices(alphabet, k=choose.randint(1, 9))
        if choose.random() < 0.15:
            letters.insert(choose.randrange(len(letters) + 1), choose.choice(marks))
        text = "".join(letters)
        return text.upper() if choose.random() < 0.1 else text.title() if choose.random() < 0.2 else text

    makers = [
        (40, word),
        (10, lambda: "".join(choose.choices(DIGITS, k=choose.randint(1, 12)))),
        (8, lambda: "".join(choose.choices(SPACES, k=choose.randint(1, 6)))),
        (6, lambda: choose.choice(" \n\t") * choose.randint(1, 20)),
        (6, lambda: choose.choice(["\r\n", "\n", "\r", " \n", "\n ", "\n\r"]) * choose.randint(1, 4)),
        (8, lambda: choose.choice(EMOJI) * choose.randint(1, 2)),
        (6, lambda: word() + choose.choice(CONTRACTIONS)),
        (5, lambda: choose.choice(CODE)),
        (5, lambda: choose.choice(SPECIALS)),
        (8, lambda: "".join(choose.choices(everything, k=choose.randint(1, 4)))),
        (8, lambda: "".join(choose.choices("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«»…—。、！¿", k=choose.randint(1, 5)))),
    ]
    weights, functions = zip(*makers)
    parts, total = [], 0
    while total < characters:
        parts.append(choose.choices(functions, weights)[0]() + choose.choice(["", " ", " ", "  "]))
        total += len(parts[-1])
    text = "".join(parts)
    # title() and upper() may give characters of a later Unicode version than 14; there are none now.
    assert all(unicodedata.category(point) != "Cn" for point in set(text))
    return text

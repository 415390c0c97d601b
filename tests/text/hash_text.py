# The formula of lib/text/hash.cpp a second time: prints the hashes that characters_test.cpp expects.
MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def hash_text(text):
    value = len(text) * GOLDEN & MASK
    for at in range(0, len(text), 8):
        word = int.from_bytes(text[at : at + 8], "little")
        value = (value ^ word) * GOLDEN & MASK
        value ^= value >> 32
    for multiplier in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        value = (value ^ (value >> 33)) * multiplier & MASK
    return value ^ (value >> 33)


for example in (b"", b"a", b"dxkwq.gnxaq.wqvnr"):
    print(example.decode() or '""', hex(hash_text(example)))

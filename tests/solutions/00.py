"""Solutions of chapter 00, filled in and graded strictly by the tests."""

from fsplit_lib.exercises import check

# %% 00.1
answer_1 = 8 * 1568 / (224 * 224)
check("00.1", answer_1)
# %% 00.2
envelope = 12 + 2 + 4  # fixed fields, a two-byte length, the checksum
answer_2 = 100 * envelope / (envelope + 382)
check("00.2", answer_2)
# %% 00.3
answer_3 = 8 * (20_000 - 1_250) / 1_000_000
check("00.3", answer_3)
# %% 00.4
answer_4 = "b"
check("00.4", answer_4)
# %% 00.5
answer_5 = "c"
check("00.5", answer_5)

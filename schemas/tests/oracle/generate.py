"""Writes identifiers.csv: account identifiers with the verdicts of libraries that are not ours.

Run with python-stdnum 2.2 and schwifty 2026.10.1 from PyPI:  python generate.py > identifiers.csv
Rows on which the two libraries disagree (national checks that ISO does not ask for) are left out.
"""

import csv
import random
import sys

from schwifty import BIC, IBAN
from schwifty.exceptions import SchwiftyException
from stdnum import bic as std_bic
from stdnum import iban as std_iban
from stdnum.us import rtn

COUNTRIES = "AD AE AT BE BG CH CY CZ DE DK EE ES FI FR GB GR HR HU IE IT LT LU LV MT NL NO PL PT RO SE SI SK".split()
BICS = "DEUTDEFF DEUTDEFF500 NWBKGB2L CHASUS33 CHASUS33XXX BNPAFRPP UBSWCHZH80A INGBNL2A DABADKKK NDEAFIHH BARCGB22".split()


def schwifty_iban(text):
    try:
        IBAN(text)
        return True
    except SchwiftyException:
        return False


def schwifty_bic(text):
    try:
        BIC(text, allow_invalid=False)
        return True
    except SchwiftyException:
        return False


def mutations(dice, text, alphabet):
    place = dice.randrange(len(text))
    yield text[:place] + dice.choice(alphabet) + text[place + 1:]
    yield text[:-1]
    yield text + dice.choice(alphabet)
    swap = dice.randrange(len(text) - 1)
    yield text[:swap] + text[swap + 1] + text[swap] + text[swap + 2:]


def rows(dice):
    for country in COUNTRIES:
        for _ in range(12):
            good = str(IBAN.random(country_code=country, random=dice))
            for text in [good, *mutations(dice, good, "0123456789ABCXYZ")]:
                if schwifty_iban(text) == std_iban.is_valid(text, check_country=False):
                    yield "iban", text, schwifty_iban(text)
    for _ in range(300):
        # python-stdnum checks the digit and not the ranges of the first two, so numbers are made within the ranges.
        prefix = dice.choice([*range(0, 13), *range(21, 33), *range(61, 73), 80])
        eight = f"{prefix:02}" + "".join(dice.choice("0123456789") for _ in range(6))
        for last in "0123456789":
            if rtn.is_valid(eight + last) or dice.random() < 0.15:
                yield "aba", eight + last, rtn.is_valid(eight + last)
    for good in BICS:
        for _ in range(10):
            for text in [good, *mutations(dice, good, "0123456789ABCDEFGXYZ")]:
                if schwifty_bic(text) == std_bic.is_valid(text):
                    yield "bic", text, schwifty_bic(text)


def main():
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["kind", "text", "valid"])
    seen = set()
    for row in rows(random.Random(20261121)):
        if row not in seen:
            seen.add(row)
            out.writerow([row[0], row[1], str(row[2]).lower()])


main()

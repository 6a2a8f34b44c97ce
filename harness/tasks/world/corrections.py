"""Corrections where the packages lack facts, are out of date or disagree. ISO 3166 codes of countries throughout."""

from __future__ import annotations

NOT_COUNTRIES = frozenset(
    """AN AQ AS AW AX AI BL BM BQ BV CC CK CS CW CX EH FK FO GF GG GI GL GP GS GU HK HM IM IO JE KY MF MO MP MQ MS NC NF
    NU PF PM PN PR RE SH SJ SX TC TF TK UM VG VI WF YT""".split()  # noqa: SIM905
)
"""Dependent territories and states that no longer exist: GeoNames lists them beside the countries."""

NO_AGREED_CAPITAL = frozenset({"GQ", "IL", "PS"})
"""Their capital is disputed, or the sources name different ones."""

WITH_ARTICLE = frozenset("AE BS CD CF CG DO GM KM MH MV NL PH SB SC US GB VA".split())  # noqa: SIM905
"""Called "the ..." in a sentence."""

# fmt: off
NAMES = {
    "CD": "DR Congo", "CG": "Congo Republic", "CV": "Cape Verde", "NL": "Netherlands", "TL": "Timor-Leste",
    "VA": "Vatican",
}
MORE_NAMES = {
    "AE": ("UAE",), "BA": ("Bosnia",), "CD": ("DRC",), "CG": ("Congo-Brazzaville",), "CZ": ("Czech Republic",),
    "GB": ("UK", "Great Britain", "Britain"), "MM": ("Burma",), "SZ": ("Swaziland",), "US": ("USA", "America"),
    "TL": ("East Timor",), "VA": ("Holy See", "Vatican City"), "MK": ("Macedonia",), "CI": ("Cote d'Ivoire",),
}
CAPITALS = {"KZ": "Astana", "PW": "Ngerulmud", "MM": "Naypyidaw"}
CAPITAL_ALIASES = {"US": ("Washington, D.C.", "Washington DC"), "AG": ("Saint John's",), "MM": ("Nay Pyi Taw",)}
MORE_CAPITALS = {
    "BJ": ("Cotonou",), "BO": ("La Paz",), "CI": ("Abidjan",), "LK": ("Sri Jayawardenepura Kotte", "Kotte"),
    "MY": ("Putrajaya",), "NL": ("The Hague",), "SZ": ("Lobamba",), "TZ": ("Dar es Salaam",),
    "ZA": ("Cape Town", "Bloemfontein"), "KI": ("South Tarawa",),
}
"""Second capitals and seats of government: right answers too, but "the capital" is then not a unique phrase."""

MAIN_LANGUAGE = {
    "KZ": "Kazakh", "ME": "Montenegrin", "NO": "Norwegian", "PK": "Urdu", "SD": "Arabic", "TD": "French",
    "UG": "English",
}
NOT_OFFICIAL = frozenset(
    {("CH", "Swiss German"), ("LI", "Swiss German"), ("UA", "Russian"), ("NG", "Yoruba"), ("SN", "Wolof")}
    | {(code, "French") for code in ("DZ", "MA", "TN", "MU", "MR")}
)
"""Widely used, and official by CLDR's reckoning of fact, not by law."""
LANGUAGE_NAMES = {
    "Bangla": ("Bengali",), "Persian": ("Farsi", "Dari"), "Chinese": ("Mandarin",), "Divehi": ("Dhivehi", "Maldivian"),
    "Filipino": ("Tagalog",), "Nyanja": ("Chichewa", "Chewa"), "Rundi": ("Kirundi",), "Sinhala": ("Sinhalese",),
    "Slovenian": ("Slovene",), "Southern Sotho": ("Sesotho",), "Swati": ("Swazi",), "Tswana": ("Setswana",),
    "Malay": ("Bahasa Melayu",), "Indonesian": ("Bahasa Indonesia",), "Spanish": ("Castilian",), "Kyrgyz": ("Kirghiz",),
    "Haitian Creole": ("Creole",),
}
SPOKEN_ELSEWHERE = frozenset(
    ("Aymara", "Bosnian", "Fiji Hindi", "Guarani", "Hakka Chinese", "Hindi", "Kazakh", "Min Nan Chinese", "Nyanja",
     "Pashto", "Somali")
)
"""Official in one country here, but with some standing in another: never "the country where it is official"."""
CONTINENT = {"TL": "AS"}
MORE_CONTINENTS = {
    "CY": ("Asia",), "RU": ("Asia",), "TR": ("Europe",), "EG": ("Asia",), "GE": ("Europe",), "AM": ("Europe",),
    "AZ": ("Europe",), "KZ": ("Europe",),
}
"""Transcontinental by some conventions: right answers too."""
# fmt: on

WRONG_BORDERS = frozenset({frozenset({"US", "CU"})})  # a leased naval base
MISSING_BORDERS = (("BW", "ZM"),)
UNCERTAIN_BORDERS = frozenset({"CA", "DK"})  # share a border on an uninhabited island since 2022

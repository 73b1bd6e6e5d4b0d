"""Language codes out of containers, as BCP 47 has them: two letters where there are two, else three.

Containers write ISO 639-2, in its bibliographic form (``ger``) or its terminological one (``deu``), or a whole tag
(``pt-BR``). The table is the standard's own list, from the Library of Congress.
"""

from __future__ import annotations

import re
from typing import Final

_PAIRS: Final = (
    "aar:aa abk:ab afr:af aka:ak alb:sq amh:am ara:ar arg:an arm:hy asm:as ava:av ave:ae aym:ay aze:az bak:ba bam:bm "
    "baq:eu bel:be ben:bn bih:bh bis:bi bod:bo bos:bs bre:br bul:bg bur:my cat:ca ces:cs cha:ch che:ce chi:zh chu:cu "
    "chv:cv cor:kw cos:co cre:cr cym:cy cze:cs dan:da deu:de div:dv dut:nl dzo:dz ell:el eng:en epo:eo est:et eus:eu "
    "ewe:ee fao:fo fas:fa fij:fj fin:fi fra:fr fre:fr fry:fy ful:ff geo:ka ger:de gla:gd gle:ga glg:gl glv:gv gre:el "
    "grn:gn guj:gu hat:ht hau:ha heb:he her:hz hin:hi hmo:ho hrv:hr hun:hu hye:hy ibo:ig ice:is ido:io iii:ii iku:iu "
    "ile:ie ina:ia ind:id ipk:ik isl:is ita:it jav:jv jpn:ja kal:kl kan:kn kas:ks kat:ka kau:kr kaz:kk khm:km kik:ki "
    "kin:rw kir:ky kom:kv kon:kg kor:ko kua:kj kur:ku lao:lo lat:la lav:lv lim:li lin:ln lit:lt ltz:lb lub:lu lug:lg "
    "mac:mk mah:mh mal:ml mao:mi mar:mr may:ms mkd:mk mlg:mg mlt:mt mon:mn mri:mi msa:ms mya:my nau:na nav:nv nbl:nr "
    "nde:nd ndo:ng nep:ne nld:nl nno:nn nob:nb nor:no nya:ny oci:oc oji:oj ori:or orm:om oss:os pan:pa per:fa pli:pi "
    "pol:pl por:pt pus:ps que:qu roh:rm ron:ro rum:ro run:rn rus:ru sag:sg san:sa sin:si slk:sk slo:sk slv:sl sme:se "
    "smo:sm sna:sn snd:sd som:so sot:st spa:es sqi:sq srd:sc srp:sr ssw:ss sun:su swa:sw swe:sv tah:ty tam:ta tat:tt "
    "tel:te tgk:tg tgl:tl tha:th tib:bo tir:ti ton:to tsn:tn tso:ts tuk:tk tur:tr twi:tw uig:ug ukr:uk urd:ur uzb:uz "
    "ven:ve vie:vi vol:vo wel:cy wln:wa wol:wo xho:xh yid:yi yor:yo zha:za zho:zh zul:zu"
)
_SHORTEST: Final = dict(pair.split(":") for pair in _PAIRS.split())
_NO_LANGUAGE: Final = frozenset({"und", "mis", "mul", "zxx", "qaa", "xxx"})
_TAG: Final = re.compile(r"([A-Za-z]{2,3})((?:-[A-Za-z0-9]{2,8}){0,3})")


def language_tag(code: str) -> str:
    """The BCP 47 tag for what a container says; empty where that is no language.

    >>> language_tag("ger"), language_tag("pt_BR"), language_tag("und")
    ('de', 'pt-BR', '')
    """
    found = _TAG.fullmatch(code.strip().replace("_", "-"))
    if found is None:
        return ""
    language, rest = found[1].lower(), found[2]
    if language in _NO_LANGUAGE:
        return ""
    return _SHORTEST.get(language, language) + _in_case(rest)


def _in_case(subtags: str) -> str:
    """Regions in capitals, scripts with one, all else small, as people write them."""
    cased = []
    for subtag in subtags.split("-")[1:]:
        if len(subtag) == 2:
            cased.append(subtag.upper())
        else:
            cased.append(subtag.title() if len(subtag) == 4 and subtag.isalpha() else subtag.lower())
    return "".join(f"-{subtag}" for subtag in cased)

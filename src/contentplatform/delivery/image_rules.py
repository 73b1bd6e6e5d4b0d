"""How the edge on AWS answers ``/images/…``: rules as data, for the distribution and for the function behind it.

**Presets of public files for everybody, everything else signed**, as at home. CloudFront chooses by the path alone, so
each preset has patterns of its own for private files: a pattern ``images/t_*/private/*`` would also catch the public
file ``a/private/b.jpg``. Who writes a preset otherwise than ``ImageOptions.text`` needs a signature, or is refused by
the function, which goes by these very rules and trusts no path.

**The edge asks again after five minutes**, whatever browsers were told: the function compares the question's ETag,
which names everything that the picture is made of, with the record, and makes nothing anew. So a file that was deleted
or replaced is gone from the edge by then, although nobody knows which of its pictures somebody asked for.
"""

from __future__ import annotations

import json
from typing import Final

from contentplatform.delivery.images import AUTO, IMAGES_FOLDER, PREFERRED, PRESETS
from contentplatform.delivery.rules import (
    CORS_HEADERS,
    VERSION_PARAMETER,
    Behaviour,
    CachePolicy,
    FunctionOrigin,
    disguise_check,
    encoded,
    matches,
)

PICTURES_ORIGIN: Final = FunctionOrigin("pictures", "content-image-transformer")
PICTURES: Final = CachePolicy(
    "content-platform-pictures",
    query_parameters=(VERSION_PARAMETER,),
    headers=("Accept",),
    # What is private is told to be kept by nobody; the edge does, for so long, and hands it to signatures only.
    minimum_seconds=60,
    default_seconds=60,
    maximum_seconds=300,
    compressed=False,
)
_PUBLIC: Final = Behaviour(f"{IMAGES_FOLDER}/t_*", PICTURES_ORIGIN, PICTURES, CORS_HEADERS, told_by_origin=True)


def picture_behaviours(private_prefix: str) -> tuple[Behaviour, ...]:
    """The behaviours of pictures in the order in which they are tried.

    Args:
        private_prefix: the setting ``ingest.private_prefix``; empty: nothing is private.
    """
    private = [
        _signed(f"{IMAGES_FOLDER}/t_{preset}{on_screen}/{encoded(private_prefix)}*")
        for preset in PRESETS
        for on_screen in ("", ",dpr_?")
        if private_prefix
    ]
    return (*private, _PUBLIC, _signed(f"{IMAGES_FOLDER}/*"))


def was_signed(path: str, private_prefix: str) -> bool:
    """Whether the edge let a path of a picture, percent-encoded and without its query, through for its signature."""
    bare = path.removeprefix("/")
    return next((each.private for each in picture_behaviours(private_prefix) if matches(each.pattern, bare)), False)


def picture_request_code() -> str:
    """The function in front of the cache: refuses a disguised path, and says what of ``Accept`` counts.

    That is the one format that ``images.format_for`` would choose, or ``*/*``: three entries of the cache a picture
    instead of one for each browser. Where the options name the format, it does not count.
    """
    return f"""function handler(event) {{
  var request = event.request;
  if ({disguise_check("request.uri")}) {{
    return {{ statusCode: 400, statusDescription: 'Bad Request' }};
  }}
  var weights = {{}};
  var accept = request.headers.accept;
  (accept ? accept.value : '').split(',').forEach(function (part) {{
    var pieces = part.split(';');
    var weight = 1;
    pieces.slice(1).reverse().forEach(function (piece) {{
      var found = /^q\\s*=\\s*(0(\\.[0-9]{{0,3}})?|1(\\.0{{0,3}})?)$/.exec(piece.trim().toLowerCase());
      weight = found ? Number(found[1]) : weight;
    }});
    weights[pieces[0].trim().toLowerCase()] = weight;
  }});
  var best = '*/*';
  var most = 0;
  {json.dumps([content_type for content_type, _ in PREFERRED])}.forEach(function (type) {{
    if (weights[type] > most) {{
      best = type;
      most = weights[type];
    }}
  }});
  var options = request.uri.split('/')[2] || '';
  var named = /(^|,)f_/.test(options) && !/(^|,)f_{AUTO}(,|$)/.test(options);
  request.headers.accept = {{ value: named ? '*/*' : best }};
  return request;
}}
"""


def _signed(pattern: str) -> Behaviour:
    return Behaviour(pattern, PICTURES_ORIGIN, PICTURES, CORS_HEADERS, private=True, told_by_origin=True)

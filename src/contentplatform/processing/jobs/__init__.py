"""What runs in sandboxed children, and nowhere else: the importers of every parser of untrusted bytes.

Each sandbox has one entry, which imports all that its jobs will ever need:

* ``media``, of films and sounds: ``probe`` (over ``demux``, ``boxes``, ``timing``), ``finish`` (``rungs`` verifies,
  ``frames``, ``hls``, ``captions`` and ``cues`` make), ``audio`` (``sound`` decodes, ``soundfiles``, ``waveform`` and
  ``loudness`` take what comes);
* ``document``: ``pdf``, ``office`` (with ``sheets``, over ``archive`` and ``markup``), ``text``; ``reading`` is what
  all of them come to, ``typeset`` draws what brings no picture;
* ``processing.image``, of pictures, one floor above: ``raw`` is its part for cameras;
* ``versions``, which reads nothing and tells releases.
"""

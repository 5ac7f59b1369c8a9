"""From the device over a link to the server: real processes, real sockets, real bytes.

    photo ──► encoder ──► Packet ──► Client ═══ ShapedLink ═══► server ──► tail ──► answer
              the device                        the link        the server

``link`` and ``client`` run on the device, without torch; ``server`` is imported by name.
"""

from fsplit_lib.offload.client import Client, Reply
from fsplit_lib.offload.link import LINKS, Link, ShapedLink

"""Python loads this first in the kernels of the fast profile: nothing may leave the machine.

The folder is put on PYTHONPATH by nbrun.py. A notebook that would download something fails here, and not on
the machine of a reader without a network.
"""

import ipaddress
import socket
import warnings

_HELP = "the fast profile has no network; ship the data, or use it in another profile only"


def _local(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode()
    if host in (None, "", "localhost"):
        return True
    try:
        return ipaddress.ip_address(str(host).split("%")[0]).is_loopback
    except ValueError:
        return False


def _guarded(name):
    real = getattr(socket.socket, name)

    def call(self, address, *rest):
        if isinstance(address, tuple) and not _local(address[0]):
            raise PermissionError(f"this cell tried to reach {address[0]}: {_HELP}")
        return real(self, address, *rest)

    return call


def _lookup(host, *args, **kwargs):
    if not _local(host):
        raise PermissionError(f"this cell looked up {host}: {_HELP}")
    return _real_lookup(host, *args, **kwargs)


for _name in ("connect", "connect_ex"):
    setattr(socket.socket, _name, _guarded(_name))
_real_lookup, socket.getaddrinfo = socket.getaddrinfo, _lookup
warnings.filterwarnings("ignore", message="IProgress not found")  # no widgets in the book

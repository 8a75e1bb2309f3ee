"""What clients do when an answer is late, refused or unwanted: hang up, time out, send it again, give up.

Begin with `sender.py`, one turn in simulated time. Which turns a client aborts, and how long it waits before it sends
one again, is drawn in `draws.py` from the seed, the program and the turn alone, so that every policy meets the same
clients; keep it so.
"""

from continuum_sim.world.clients.config import PATIENT, ClientConfig, client_config
from continuum_sim.world.clients.draws import ClientDraws
from continuum_sim.world.clients.sender import Answer, ClientTotals, Sender

__all__ = ["PATIENT", "Answer", "ClientConfig", "ClientDraws", "ClientTotals", "Sender", "client_config"]

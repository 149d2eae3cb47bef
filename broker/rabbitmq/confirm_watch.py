"""Whether a publish channel is of use: a server may answer heartbeats and confirm nothing, or refuse for ever."""

from hookline.broker.rabbitmq.confirms import Confirms

LOOK_EVERY_S = 1.0
_SILENT_LOOKS = 10
_REFUSING_LOOKS = 5


class ConfirmWatch:
    """Looks at a channel's confirms once a second. It counts looks: a pause of this process is one of them."""

    def __init__(self, confirms: Confirms) -> None:
        self._confirms = confirms
        self._acks = 0
        self._nacks = 0
        self._silent = 0
        self._refusing = 0

    def look(self) -> None:
        confirms = self._confirms
        is_silent = confirms.is_waiting and (confirms.acks, confirms.nacks) == (self._acks, self._nacks)
        self._silent = self._silent + 1 if is_silent else 0
        if confirms.acks != self._acks:
            self._refusing = 0
        elif confirms.nacks > self._nacks or self._refusing:
            self._refusing += 1
        self._acks, self._nacks = confirms.acks, confirms.nacks

    @property
    def is_silent(self) -> bool:
        """Whether messages are written and nothing was confirmed for ten seconds."""
        return self._silent >= _SILENT_LOOKS

    @property
    def only_refuses(self) -> bool:
        """Whether everything was refused for five seconds."""
        return self._refusing >= _REFUSING_LOOKS

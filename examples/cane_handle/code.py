"""The cane handle, in CircuitPython: copy it to the board as code.py.

Reads the lines that `fieldsight alert live --cane PORT` sends, such as {"l":2,"tti":1.4,"v":-3.1,"b":-12}, and drives
a haptic motor. Level 0 is still; 1 to 3 pulse, faster as the impact comes near; 255 (nobody watches), a second without
a line, and the start are a long, slow buzz. It is no safety device.

Wiring: motor driver at A1, a button from A2 to ground that tests the motor; lines come over USB (usb_cdc) or, where
that is absent, over UART at 115,200 baud.
"""

import json
import time

import board
import busio
import digitalio
import pwmio

try:
    import usb_cdc

    port = usb_cdc.data or usb_cdc.console
except ImportError:
    port = None
if port is None:
    port = busio.UART(board.TX, board.RX, baudrate=115200, timeout=0)

motor = pwmio.PWMOut(board.A1, frequency=200, duty_cycle=0)
button = digitalio.DigitalInOut(board.A2)
button.switch_to_input(pull=digitalio.Pull.UP)

STRENGTH = {1: 35000, 2: 50000, 3: 65535, 255: 40000}
LOST = 1.0  # seconds without a line

rest, level, tti, heard = b"", 255, None, time.monotonic() - LOST


def read():
    """Take what came; lines that are none are left out."""
    global rest, level, tti, heard
    waiting = port.in_waiting
    data = port.read(waiting) if waiting else None
    if not data:
        return
    lines = (rest + data).split(b"\n")
    rest = lines[-1][-256:]
    for line in lines[:-1]:
        try:
            message = json.loads(line)
            new, soon = int(message["l"]), message.get("tti")
            soon = None if soon is None else float(soon)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        if new in (0, 1, 2, 3, 255):
            level, tti, heard = new, soon, time.monotonic()


def pattern():
    """Seconds on and off, and how strong."""
    if not button.value:
        return 0.1, 0.1, 65535
    if level == 255 or time.monotonic() - heard > LOST:
        return 0.4, 1.6, STRENGTH[255]
    if level == 0:
        return 0.0, 0.1, 0
    half = min(max(0.15 * tti, 0.08), 0.5) / 2 if tti is not None else 0.25
    return half, half, STRENGTH[level]


began = time.monotonic()
while True:
    read()
    on, off, strength = pattern()
    now = time.monotonic()
    if now - began > on + off:
        began = now
    motor.duty_cycle = strength if now - began < on else 0
    time.sleep(0.005)

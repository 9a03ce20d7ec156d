"""Power of this machine while something runs: sensors, a sampler, joules and energy an inference; else 'not measured'.

::

    from fieldsight.power.report import energy, not_measured
    from fieldsight.power.sampler import Sampler
    from fieldsight.power.sensors import find_sensor

    sensor, why = find_sensor()
    if sensor is None:
        report = not_measured(why)
    else:
        with Sampler(sensor) as sampler:
            work()
        sensor.close()
        report = energy(sampler.trace(), inferences=600)

A sensor counts what it sees (CPU packages, a whole module, a GPU board), idle power included, and says so by its name.
Where none can be read, the reasons are told; nothing is estimated in their place.
"""

"""Load, failover and speed: what Apidex is measured with.

    locustfile -> client, names, shapes, verifier -> oracle, ordering, record     users: who sends what, and what a failure is
    distributed                                                                    users on several machines
    scenarios  -> nemesis -> faults -> targets, testbed                            what is broken, when; and how, there
    run        -> load_generator, observer -> history                              one run, recorded
    analysis   -> checks -> verdict -> report                                      what it came to, what had to hold, a page
    demo, demo.html                                                                a page that shows a run while it goes on
    capacity   -> bench, charts                                                    how many replicas a load needs
    bench/                                                                         speed; knows none of the above but system

A fault, a check, a scenario and a target are each one declaration and one registration, in the `__init__` of their folder.
"""

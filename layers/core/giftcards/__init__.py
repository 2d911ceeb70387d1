"""Gift-card fulfilment: the code that all functions share.

``use_cases`` has one module for each function, ``rules`` are pure, ``adapters`` call the supplier and AWS,
``contracts`` are the models of everything that crosses a boundary, and ``composition_root`` connects them.
"""

"""Gift-card fulfilment: the domain that all functions share.

``rules`` are pure, ``adapters`` talk to the supplier and to AWS, and one module for each function
(``check_status``, ``deliver_cards``, ``reveal_cards``, ``sweep_orders``, ``reconcile_orders``) puts them together.
"""

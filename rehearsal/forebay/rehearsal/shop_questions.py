"""What customers of the example shop ask it: about its own orders, articles and coupons, in Chinese and English. Pure."""

from __future__ import annotations

import random

_CHINESE = (
    "SKU{sku:03d} 还有货吗？",
    "订单 {order} 现在什么状态？",
    "帮我查一下订单 {order} 的快递到哪了",
    "优惠券 SAVE30 买 350 元的东西能用吗？",
    "配送要多久？",
    "我要取消订单 {order}",
    "订单 {order} 里的 SKU{own:03d} 我想退货，颜色和图片不一样",
)
_ENGLISH = (
    "Is SKU{sku:03d} in stock?",
    "What is the status of order {order}?",
    "Where is my parcel for order {order}?",
    "Does coupon SAVE30 work for 350 yuan?",
    "How long does delivery take?",
    "Please cancel order {order}",
    "I want to return SKU{own:03d} of order {order}, the colour is wrong",
)
CUSTOMERS = 20
"""Of the shop, ``u-1`` and so on; each has the orders 1000 and 1020 plus that number."""


def question(rng: random.Random, customer: int, *, chinese: bool) -> str:
    """What this customer (from 1 on) asks."""
    order = 1000 + customer + rng.choice((0, CUSTOMERS))
    text = rng.choice(_CHINESE if chinese else _ENGLISH)
    return text.format(sku=rng.randint(1, 32), order=order, own=order % 32 + 1)

from apidex.search.memo import MOST, remembered


def test_a_value_is_computed_once_until_there_are_too_many():
    values: dict[int, str] = {}
    computed: list[int] = []

    def compute(key: int) -> str:
        computed.append(key)
        return str(key)

    assert [remembered(values, key, compute) for key in (1, 2, 1)] == ["1", "2", "1"]
    assert computed == [1, 2]
    for key in range(MOST + 1):
        assert remembered(values, key, compute) == str(key)
        assert len(values) <= MOST
    assert remembered(values, 1, compute) == "1"
    assert computed.count(1) == 2

from apidex.search.memo import MAX_VALUES, memoized


def test_a_value_is_computed_once_until_there_are_too_many():
    values: dict[int, str] = {}
    computed: list[int] = []

    def compute(key: int) -> str:
        computed.append(key)
        return str(key)

    assert [memoized(values, key, compute) for key in (1, 2, 1)] == ["1", "2", "1"]
    assert computed == [1, 2]
    for key in range(MAX_VALUES + 1):
        assert memoized(values, key, compute) == str(key)
        assert len(values) <= MAX_VALUES
    assert memoized(values, 1, compute) == "1"
    assert computed.count(1) == 2
    assert memoized(values, 0, compute, len(values)) == "0"
    assert memoized(values, -1, compute, len(values)) == "-1"
    assert [*values] == [-1]

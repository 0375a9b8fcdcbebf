colon = :
help = Довідка
privacy = Конфіденційність
unknown = невідома
duration-minutes = { $count ->
    [one] { $count } хвилину
    [few] { $count } хвилини
   *[other] { $count } хвилин
}
duration-hours = { $count ->
    [one] { $count } годину
    [few] { $count } години
   *[other] { $count } годин
}
duration-days = { $count ->
    [one] { $count } день
    [few] { $count } дні
   *[other] { $count } днів
}

colon = :
help = ヘルプ
privacy = プライバシー
unknown = 不明
duration-minutes = { $count ->
   *[other] { $count } 分間
}
duration-hours = { $count ->
   *[other] { $count } 時間
}
duration-days = { $count ->
   *[other] { $count } 日間
}
